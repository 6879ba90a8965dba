using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>What lies around a value, along some of its dimensions: its own numbers again, or one number.</summary>
internal static class Paddings
{
    /// <summary>The function <c>pad</c>.</summary>
    public static Mapping Of(FunctionCall call)
    {
        var (layout, pad) = (call.Input.Layout!, call.Dimensions("pad") ?? []);
        var (mode, value) = (call.Argument("mode") is PaddingModes given ? given : PaddingModes.Constant, call.Number("value") ?? 0);
        return call.Unary((w, x) => Pad(w, x, layout, pad, mode, value));
    }

    /// <summary>What a layer pads with; null: it is none that pads.</summary>
    public static PaddingModes? ModeOf(nn.Module layer) => layer switch
    {
        ReflectionPad1d or ReflectionPad2d or ReflectionPad3d => PaddingModes.Reflect,
        ReplicationPad1d or ReplicationPad2d or ReplicationPad3d => PaddingModes.Replicate,
        ZeroPad2d or ConstantPad1d or ConstantPad2d or ConstantPad3d => PaddingModes.Constant,
        _ => null,
    };

    /// <summary>A value with more places along some dimensions.</summary>
    /// <param name="writer">The graph.</param>
    /// <param name="x">The value.</param>
    /// <param name="layout">How it lies in the graph.</param>
    /// <param name="pad">Places before and behind, of the last dimension, then of those before it.</param>
    /// <param name="mode">What they are.</param>
    /// <param name="value">That, of a constant.</param>
    public static string Pad(TraceWriter writer, string x, RowLayout layout, long[] pad, PaddingModes mode, double value)
    {
        if (Array.Find(pad, p => p < 0) is var less and < 0)
            throw new NotTracedException($"takes {less} places more, expected none that are less than 0: narrow it");
        var places = pad.Chunk(2).Select((p, i) => (Dimension: layout.Rank - 1 - i, Before: p[0], Behind: p[1])).Where(p => (p.Before, p.Behind) is not (0, 0)).ToArray();
        if (mode is not (PaddingModes.Zeros or PaddingModes.Constant))
            return places.Aggregate(x, (name, p) => Again(writer, name, mode, layout.Axis(p.Dimension), layout.Shape[p.Dimension], p.Before, p.Behind));
        var rank = layout.GraphShape.Length;
        var pads = new long[2 * rank];
        foreach (var (dimension, before, behind) in places)
            (pads[layout.Axis(dimension)], pads[rank + layout.Axis(dimension)]) = (before, behind);
        return writer.Node("Pad", value == 0 ? [x, writer.Integers("pads", pads)] : [x, writer.Integers("pads", pads), writer.Constant((float)value)]);
    }

    /// <summary>A value with its own numbers around it, along a dimension of the graph.</summary>
    /// <param name="writer">The graph.</param>
    /// <param name="x">The value.</param>
    /// <param name="mode">Which of them.</param>
    /// <param name="axis">The dimension.</param>
    /// <param name="size">Its size.</param>
    /// <param name="before">Places before it.</param>
    /// <param name="behind">Places behind it.</param>
    public static string Again(TraceWriter writer, string x, PaddingModes mode, int axis, long size, long before, long behind)
    {
        var places = Enumerable.Range(0, (int)(before + size + behind)).Select(i => i - before).Select(p => mode switch
        {
            PaddingModes.Reflect => size - 1 - Math.Abs(size - 1 - Math.Abs(p)),
            PaddingModes.Circular => (p + size) % size,
            _ => Math.Clamp(p, 0, size - 1),
        });
        return before + behind == 0 ? x : writer.Node("Gather", [x, writer.Integers("places", places.ToArray())], OnnxGraph.Integer("axis", axis));
    }
}
