using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What hides keys from libtorch's layers of attention: a mask that is added to the scores of all rows, and one of the padding of each row.</summary>
internal sealed class AttentionMasks
{
    private readonly TraceValue? _mask;
    private readonly TraceValue? _padding;
    private readonly long _keys;

    /// <param name="call">The layer's call.</param>
    /// <param name="mask">The argument that is the mask.</param>
    /// <param name="padding">The argument that says which keys are padding.</param>
    /// <exception cref="NotTracedException">One is of another kind.</exception>
    public AttentionMasks(StepCall call, int mask, int padding)
    {
        (_mask, _padding, _keys) = (call.Value(mask), call.Value(padding), call.Steps[1]);
        if (_mask is not null && (_mask.Layout is not null || _mask.Tensor.dim() != 2))
            throw Misfit("mask", _mask, "[steps, keys], the same for all rows");
        // libtorch adds truths as 1 and 0, by which next to nothing is hidden.
        if (_mask is not null && _mask.Tensor.dtype != ScalarType.Float32)
            throw Misfit("mask", _mask, $"Float32, with -inf where it hides: libtorch's layers add it to their scores. Write zeros({string.Join(", ", _mask.Tensor.shape)}).masked_fill(mask, float.NegativeInfinity)");
        if (_padding is not null && (_padding.Tensor.dtype != ScalarType.Bool || _padding.Layout is not (null or { RowAxis: 0, Rank: 2, Fold: 1 })))
            throw Misfit("padding mask", _padding, "[rows, keys] of Bool");
    }

    /// <summary>The padding where rows have it, for a graph to read.</summary>
    public TraceValue[] OfRows => _padding is { Layout: not null } ? [_padding] : [];

    /// <summary>What hides, in a graph, of the scores [rows, heads, steps, keys].</summary>
    /// <param name="padding">The names of <see cref="OfRows"/>.</param>
    public Func<TraceWriter, string, string> Hiding(params string[] padding) => (writer, scores) =>
    {
        if (_mask is not null)
            scores = writer.Node("Add", [scores, writer.Constant(_mask.Outside!.Compute(writer.Current), "mask")]);
        if (_padding is null)
            return scores;
        var isHidden = padding is [var rows] ? rows : writer.Cast(writer.ForEachRow(_padding.Outside!, new RowLayout([RowLayout.Rows, _keys], 0)), ScalarType.Bool);
        return writer.Node("Where", [writer.Reshape(isHidden, [1, 1, _keys]), writer.Constant(float.MinValue), scores]);
    };

    private static NotTracedException Misfit(string what, TraceValue mask, string expected) =>
        new($"has a {what} [{string.Join(", ", mask.Tensor.shape)}] of {mask.Tensor.dtype}{(mask.Layout is null ? "" : " that rows have")}, expected {expected}");
}
