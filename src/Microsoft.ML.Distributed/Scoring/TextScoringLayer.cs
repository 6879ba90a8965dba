using System.Numerics.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A layer of <see cref="TextScorer"/>.</summary>
internal sealed class TextScoringLayer
{
    private readonly TextSpec _text;
    private readonly int _headWidth;
    private readonly TextScoringLinear _query, _key, _value, _output, _up, _down;
    private readonly TextScoringNorm _first, _second;

    public TextScoringLayer(TextSpec text, IReadOnlyDictionary<string, float[]> tensors, int layer)
    {
        (_text, _headWidth) = (text, text.Width / text.Heads);
        (_query, _key, _value, _output) = (Linear("query"), Linear("key"), Linear("value"), Linear("output"));
        (_up, _down) = (Linear("up"), Linear("down"));
        (_first, _second) = (Norm("attention.output.LayerNorm"), Norm("output.LayerNorm"));

        TextScoringLinear Linear(string target) => new(tensors, TextTensors.InLayer(layer, TextTensors.Targets[target]));
        TextScoringNorm Norm(string part) => new(tensors, TextTensors.InLayer(layer, part), text.NormEpsilon);
    }

    public void Apply(TextScoringMemory memory)
    {
        ReadOnlySpan<float> input = memory.X;
        if (_text.NormFirst)
        {
            _first.Apply(memory.X, memory.Added);
            input = memory.Added;
        }

        Attend(input, memory);
        _output.Apply(memory.Mixed, memory.Added);
        TensorPrimitives.Add(memory.X, memory.Added, memory.X);
        var between = _text.NormFirst ? memory.Mixed : memory.X;
        (_text.NormFirst ? _second : _first).Apply(memory.X, between);
        _up.Apply(between, memory.Wide);
        if (_text.Activation == Activation.Gelu)
            Gelu.Apply(memory.Wide);
        else
            TensorPrimitives.Max(memory.Wide, 0, memory.Wide);
        _down.Apply(memory.Wide, memory.Added);
        TensorPrimitives.Add(memory.X, memory.Added, memory.X);
        if (!_text.NormFirst)
            _second.Apply(memory.X, memory.X);
    }

    private void Attend(ReadOnlySpan<float> input, TextScoringMemory memory)
    {
        _query.Apply(input, memory.Query);
        _key.Apply(input, memory.Key);
        _value.Apply(input, memory.Value);
        memory.Mixed.Clear();
        var scale = 1 / MathF.Sqrt(_headWidth);
        for (var head = 0; head < _text.Heads; head++)
            for (var token = 0; token < memory.Length; token++)
                Attend(memory, head * _headWidth, token * _text.Width, scale);
    }

    // One head of one token: how much it takes of each, and what comes of it.
    private void Attend(TextScoringMemory memory, int head, int token, float scale)
    {
        var query = memory.Query.Slice(token + head, _headWidth);
        var shares = memory.Shares;
        var mixed = memory.Mixed.Slice(token + head, _headWidth);
        for (var i = 0; i < memory.Length; i++)
            shares[i] = memory.IsHidden(i) ? float.NegativeInfinity : Vectors.Dot(query, memory.Key.Slice((i * _text.Width) + head, _headWidth)) * scale;
        TensorPrimitives.Subtract(shares, TensorPrimitives.Max<float>(shares), shares);
        TensorPrimitives.Exp(shares, shares);
        TensorPrimitives.Divide(shares, TensorPrimitives.Sum<float>(shares), shares);
        for (var i = 0; i < memory.Length; i++)
            Vectors.AddScaled(memory.Value.Slice((i * _text.Width) + head, _headWidth), shares[i], mixed);
    }
}
