using System.Numerics.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A layer of <see cref="TextScorer"/>.</summary>
internal sealed class TextScoringLayer(TextSpec text, IReadOnlyDictionary<string, float[]> tensors, int layer)
{
    private readonly int _headWidth = text.Width / text.Heads;

    public void Apply(TextScoringMemory memory)
    {
        var (first, second) = (TextTensors.InLayer(layer, "attention.output.LayerNorm"), TextTensors.InLayer(layer, "output.LayerNorm"));
        ReadOnlySpan<float> input = memory.X;
        if (text.NormFirst)
        {
            TextScorer.Norm(memory.X, memory.Added, tensors, first, text);
            input = memory.Added;
        }

        Attend(input, memory);
        Linear("output", memory.Mixed, memory.Added);
        TensorPrimitives.Add(memory.X, memory.Added, memory.X);
        var between = text.NormFirst ? memory.Mixed : memory.X;
        TextScorer.Norm(memory.X, between, tensors, text.NormFirst ? second : first, text);
        Linear("up", between, memory.Wide);
        if (text.Activation == Activation.Gelu)
            Gelu.Apply(memory.Wide);
        else
            TensorPrimitives.Max(memory.Wide, 0, memory.Wide);
        Linear("down", memory.Wide, memory.Added);
        TensorPrimitives.Add(memory.X, memory.Added, memory.X);
        if (!text.NormFirst)
            TextScorer.Norm(memory.X, memory.X, tensors, second, text);
    }

    private void Attend(ReadOnlySpan<float> input, TextScoringMemory memory)
    {
        Linear("query", input, memory.Query);
        Linear("key", input, memory.Key);
        Linear("value", input, memory.Value);
        memory.Mixed.Clear();
        var scale = 1 / MathF.Sqrt(_headWidth);
        for (var head = 0; head < text.Heads; head++)
            for (var token = 0; token < memory.Length; token++)
                Attend(memory, head * _headWidth, token * text.Width, scale);
    }

    // One head of one token: how much it takes of each, and what comes of it.
    private void Attend(TextScoringMemory memory, int head, int token, float scale)
    {
        var query = memory.Query.Slice(token + head, _headWidth);
        var shares = memory.Shares;
        var mixed = memory.Mixed.Slice(token + head, _headWidth);
        for (var i = 0; i < memory.Length; i++)
            shares[i] = memory.IsHidden(i) ? float.NegativeInfinity : Vectors.Dot(query, memory.Key.Slice((i * text.Width) + head, _headWidth)) * scale;
        TensorPrimitives.Subtract(shares, TensorPrimitives.Max<float>(shares), shares);
        TensorPrimitives.Exp(shares, shares);
        TensorPrimitives.Divide(shares, TensorPrimitives.Sum<float>(shares), shares);
        for (var i = 0; i < memory.Length; i++)
            Vectors.AddScaled(memory.Value.Slice((i * text.Width) + head, _headWidth), shares[i], mixed);
    }

    private void Linear(string target, ReadOnlySpan<float> from, Span<float> to)
    {
        var name = TextTensors.InLayer(layer, TextTensors.Targets[target]);
        MatrixMatrix.Multiply(tensors[$"{name}.weight"], tensors[$"{name}.bias"], from, to, (int)TextTensors.SizeOf(text, target).Inputs);
    }
}
