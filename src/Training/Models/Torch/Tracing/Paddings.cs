using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What lies around a value, along some of its dimensions: its own numbers again, or one number.</summary>
internal static class Paddings
{
    /// <summary>The function <c>pad</c>.</summary>
    public static Mapping Of(FunctionCall call)
    {
        var (layout, pad) = (call.Input.Layout!, call.Dimensions("pad") ?? []);
        var (mode, value, size) = (call.Argument("mode") is PaddingModes given ? given : PaddingModes.Constant, Math.Clamp(call.Number("value") ?? 0, float.MinValue, float.MaxValue), call.Input.Tensor.shape);
        // From the last dimension on, before and behind each.
        var places = pad.Chunk(2).Select((p, i) => (Dimension: layout.Rank - 1 - i, Before: p[0], Behind: p[1])).Where(p => (p.Before, p.Behind) is not (0, 0))
            .Select(p => (Axis: layout.Axis(p.Dimension), Size: size[p.Dimension], p.Before, p.Behind)).ToArray();
        return call.Unary((w, x) => places.Aggregate(x, (name, place) => Pad(w, name, mode, value, place.Axis, layout.GraphShape.Length, place.Size, place.Before, place.Behind)));
    }

    /// <summary>A value with more places along a dimension.</summary>
    /// <param name="writer">The graph.</param>
    /// <param name="x">The value.</param>
    /// <param name="mode">What they are.</param>
    /// <param name="value">That, of a constant.</param>
    /// <param name="axis">The dimension, in the graph.</param>
    /// <param name="rank">How many there are in the graph.</param>
    /// <param name="size">Its size.</param>
    /// <param name="before">Places before it.</param>
    /// <param name="behind">Places behind it.</param>
    public static string Pad(TraceWriter writer, string x, PaddingModes mode, double value, int axis, int rank, long size, long before, long behind)
    {
        if (before < 0 || behind < 0)
            throw new NotTracedException($"takes {before} and {behind} places more, expected none that are less than 0: narrow it");
        if (before + behind == 0)
            return x;
        var places = Enumerable.Range(0, (int)(before + size + behind)).Select(i => i - before).ToArray();
        var gathered = writer.Node("Gather", [x, writer.Integers("places", Array.ConvertAll(places, p => mode switch
        {
            PaddingModes.Reflect => size - 1 - Math.Abs(size - 1 - Math.Abs(p)),
            PaddingModes.Circular => (p + size) % size,
            _ => Math.Clamp(p, 0, size - 1),
        }))], OnnxGraph.Integer("axis", axis));
        if (mode is not (PaddingModes.Zeros or PaddingModes.Constant))
            return gathered;
        var shape = Enumerable.Range(0, rank).Select(d => d == axis ? places.LongLength : 1L).ToArray();
        var inside = tensor(Array.ConvertAll(places, p => p >= 0 && p < size ? 1f : 0)).view(shape);
        var kept = writer.Node("Mul", [gathered, writer.Constant(inside)]);
        return value == 0 ? kept : writer.Node("Add", [kept, writer.Constant(inside.sub(1).mul((float)-value))]);
    }
}
