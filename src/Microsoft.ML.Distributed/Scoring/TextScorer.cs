using System.Numerics.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A managed forward pass of what <see cref="OnnxTextWriter"/> writes and <see cref="OnnxTextReader"/> takes, over a row's own tokens:
/// padding costs nothing.
/// </summary>
internal sealed class TextScorer : IScorer
{
    private readonly TextSpec _text;
    private readonly IReadOnlyDictionary<string, float[]> _tensors;
    private readonly TextScoringLayer[] _layers;
    private readonly ScoreHead _head;

    private TextScorer(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        (_text, _tensors, _head) = (spec.Module.Text, tensors, ScoreHead.Of(spec.Task, tensors));
        _layers = [.. Enumerable.Range(0, _text.Layers).Select(i => new TextScoringLayer(_text, tensors, i))];
    }

    public int InputSize => _text.InputSize;

    public int OutputSize => _text.OutputSize;

    /// <summary>The encoder of a model.</summary>
    /// <param name="onnx">The bytes of its file.</param>
    /// <param name="spec">The job that trained it.</param>
    /// <exception cref="FormatException">The file is not what our writer writes for the job.</exception>
    public static TextScorer Read(byte[] onnx, JobSpec spec) => new(spec, OnnxTextReader.Read(onnx, spec));

    public RowScorer CreateRunner()
    {
        var memory = new TextScoringMemory(_text);
        return (features, score) =>
        {
            memory.Begin(features);
            Embed(memory);
            foreach (var layer in _layers)
                layer.Apply(memory);
            if (_text.NormFirst)
                Norm(memory.X, memory.X, _tensors, TextTensors.LastNorm, _text);
            Pool(memory);
            Linear(TextTensors.Classifier, memory.Pooled, score);
            _head.Finish(score);
        };
    }

    public void Dispose()
    {
        // Managed memory only.
    }

    /// <summary>Layer normalisation of each token; in place where both are the same.</summary>
    internal static void Norm(ReadOnlySpan<float> from, Span<float> to, IReadOnlyDictionary<string, float[]> tensors, string name, TextSpec text)
    {
        var (gain, bias) = (tensors[$"{name}.weight"], tensors[$"{name}.bias"]);
        for (var at = 0; at < from.Length; at += gain.Length)
        {
            var token = from.Slice(at, gain.Length);
            var result = to.Slice(at, gain.Length);
            TensorPrimitives.Subtract(token, TensorPrimitives.Sum(token) / gain.Length, result);
            var variance = TensorPrimitives.SumOfSquares<float>(result) / gain.Length;
            TensorPrimitives.Multiply(result, (float)(1 / Math.Sqrt(variance + text.NormEpsilon)), result);
            TensorPrimitives.MultiplyAdd(result, gain, bias, result);
        }
    }

    private void Embed(TextScoringMemory memory)
    {
        var (words, segments, positions) = (_tensors[TextTensors.Words], _tensors[TextTensors.Segments], _tensors[TextTensors.Positions]);
        var segment = 0;
        for (var i = 0; i < memory.Length; i++)
        {
            var token = memory.X.Slice(i * _text.Width, _text.Width);
            TensorPrimitives.Add(words.AsSpan(memory.Ids[i] * _text.Width, _text.Width), segments.AsSpan(segment * _text.Width, _text.Width), token);
            TensorPrimitives.Add(token, positions.AsSpan(i * _text.Width, _text.Width), token);
            segment = memory.Ids[i] == _text.SeparatorId ? 1 : segment;
        }

        Norm(memory.X, memory.X, _tensors, TextTensors.EmbeddingNorm, _text);
    }

    private void Pool(TextScoringMemory memory)
    {
        if (_text.Pooling == TextPooling.First)
        {
            Linear(TextTensors.Pooler, memory.X[.._text.Width], memory.Pooled);
            TensorPrimitives.Tanh(memory.Pooled, memory.Pooled);
            return;
        }

        memory.Pooled.Clear();
        var count = 0;
        for (var i = 0; i < memory.Length; i++)
        {
            if (memory.IsHidden(i))
                continue;
            TensorPrimitives.Add(memory.Pooled, memory.X.Slice(i * _text.Width, _text.Width), memory.Pooled);
            count++;
        }

        TensorPrimitives.Divide(memory.Pooled, count, memory.Pooled);
    }

    private void Linear(string name, ReadOnlySpan<float> from, Span<float> to) =>
        MatrixMatrix.Multiply(_tensors[$"{name}.weight"], _tensors[$"{name}.bias"], from, to, from.Length);
}
