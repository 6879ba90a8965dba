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
    private readonly float[] _words, _segments, _positions;
    private readonly TextScoringNorm _embeddingNorm;
    private readonly TextScoringLayer[] _layers;
    private readonly TextScoringNorm? _lastNorm;
    private readonly TextScoringLinear? _pooler;
    private readonly TextScoringLinear _classifier;
    private readonly ScoreHead _head;

    private TextScorer(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        (_text, _head) = (spec.Module.Text, ScoreHead.Of(spec.Task, tensors));
        (_words, _segments, _positions) = (tensors[TextTensors.Words], tensors[TextTensors.Segments], tensors[TextTensors.Positions]);
        _embeddingNorm = new TextScoringNorm(tensors, TextTensors.EmbeddingNorm, _text.NormEpsilon);
        _layers = [.. Enumerable.Range(0, _text.Layers).Select(i => new TextScoringLayer(_text, tensors, i))];
        _lastNorm = _text.NormFirst ? new TextScoringNorm(tensors, TextTensors.LastNorm, _text.NormEpsilon) : null;
        _pooler = _text.Pooling == TextPooling.First ? new TextScoringLinear(tensors, TextTensors.Pooler) : null;
        _classifier = new TextScoringLinear(tensors, TextTensors.Classifier);
    }

    public int InputSize => _text.InputSize;

    // Of each token, where they are tagged.
    public int OutputSize => _text.Tags is null ? _text.OutputSize : _text.InputSize * _text.OutputSize;

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
            _lastNorm?.Apply(memory.X, memory.X);
            if (_text.Tags is not null)
            {
                Tag(memory, score);
                return;
            }

            Pool(memory);
            _classifier.Apply(memory.Pooled, score);
            _head.Finish(score);
        };
    }

    public void Dispose()
    {
        // Managed memory only.
    }

    private void Embed(TextScoringMemory memory)
    {
        var segment = 0;
        for (var i = 0; i < memory.Length; i++)
        {
            var token = memory.X.Slice(i * _text.Width, _text.Width);
            TensorPrimitives.Add(_words.AsSpan(memory.Ids[i] * _text.Width, _text.Width), _segments.AsSpan(segment * _text.Width, _text.Width), token);
            TensorPrimitives.Add(token, _positions.AsSpan(i * _text.Width, _text.Width), token);
            segment = memory.Ids[i] == _text.SeparatorId ? 1 : segment;
        }

        _embeddingNorm.Apply(memory.X, memory.X);
    }

    // What is behind the last token has no scores.
    private void Tag(TextScoringMemory memory, Span<float> scores)
    {
        var used = scores[..(memory.Length * _text.OutputSize)];
        _classifier.Apply(memory.X, used);
        for (var at = 0; at < used.Length; at += _text.OutputSize)
            _head.Finish(used.Slice(at, _text.OutputSize));
        scores[used.Length..].Clear();
    }

    private void Pool(TextScoringMemory memory)
    {
        if (_pooler is not null)
        {
            _pooler.Apply(memory.X[.._text.Width], memory.Pooled);
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
}
