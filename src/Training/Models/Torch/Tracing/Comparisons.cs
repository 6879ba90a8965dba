using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Functions that compare values, and what is made of truths: in a graph these are Bool, and numbers where they are computed with.</summary>
internal static class Comparisons
{
    public static Mapping Of(FunctionCall call, string op, bool isNegated = false)
    {
        var type = call.Result.dtype; // one that works in place keeps its tensor's
        return Elementwise.Of(Elementwise.Operands(call), call.Result, (writer, names) => FromTruth(writer, isNegated ? writer.Node("Not", [writer.Node(op, names)]) : writer.Node(op, names), type));
    }

    public static Mapping Not(FunctionCall call) => IsTruth(((Tensor)call.Arguments[0]!).dtype) ? call.AsItIs((w, x) => w.Node("Not", [x])) : throw new NotTracedException($"negates numbers of type {((Tensor)call.Arguments[0]!).dtype}, expected truths");

    /// <summary>Two truths together, of which one may be a constant, as a function of 1 and 0.</summary>
    public static Mapping Join(FunctionCall call, string op)
    {
        var operands = Elementwise.Operands(call);
        if (operands.Any(o => o is not TraceValue { Tensor: var tensor } || !IsTruth(tensor.dtype)))
            throw new NotTracedException("joins what are no truths");
        return Elementwise.Of(operands, call.Result, (writer, names) => ToTruth(writer, writer.Node(op, names)));
    }

    /// <summary>One value where a condition is true, and another where it is not.</summary>
    public static Mapping Where(FunctionCall call)
    {
        var condition = call.Argument("condition") as Tensor ?? throw new NotTracedException("has no condition, or returns places");
        var yes = call.Argument("x", "self") ?? call.Arguments[0];
        return Where(call, call.Known(condition), Elementwise.Operand(call, yes), Elementwise.Operand(call, call.Argument("y", "other")));
    }

    /// <summary>A number where a mask is true, and a value where it is not.</summary>
    public static Mapping Fill(FunctionCall call)
    {
        var mask = call.Argument("mask") as Tensor ?? throw new NotTracedException("has no mask");
        var value = call.Number("value") ?? throw new NotTracedException("fills with what is no number");
        return Where(call, call.Known(mask), Math.Clamp(value, float.MinValue, float.MaxValue), call.Input);
    }

    private static Mapping Where(FunctionCall call, TraceValue condition, object yes, object no)
    {
        if (!IsTruth(condition.Tensor.dtype))
            throw new NotTracedException($"has a condition of type {condition.Tensor.dtype}, expected truths");
        var (operands, type) = (new[] { yes, no }, call.Result.dtype);
        if (condition.Layout is not null)
            return Elementwise.Of([condition, .. operands], call.Result, (writer, names) => FromNumbers(writer, writer.Node("Where", [ToTruth(writer, names[0]), names[1], names[2]]), type));
        var rows = operands.OfType<TraceValue>().FirstOrDefault(v => v.Layout is not null)?.Layout ?? throw new NotTracedException("has no value of rows");
        var layout = new RowLayout(call.Result.shape, (int)call.Result.dim() - rows.FromRight, rows.Fold);
        return Elementwise.Of(operands, call.Result, (writer, names) => FromNumbers(writer, writer.Node("Where", [ToTruth(writer, writer.ForEachRow(condition.Outside!, layout)), names[0], names[1]]), type));
    }

    /// <summary>Whether any, or all, of some dimensions are true.</summary>
    public static Mapping Quantified(FunctionCall call, string op) =>
        IsTruth(((Tensor)call.Arguments[0]!).dtype) ? TracedFunctions.Over(call, (axes, keeps, w, x) => ToTruth(w, w.Reduce(op, ToNumbers(w, x, ScalarType.Bool), axes, keeps)))
        : throw new NotTracedException("looks at what are no truths");

    public static bool IsTruth(ScalarType type) => type == ScalarType.Bool;

    /// <summary>What is compared or added up: ids and truths as numbers.</summary>
    public static string ToNumbers(TraceWriter writer, string x, ScalarType type) =>
        type is ScalarType.Float32 or ScalarType.Float64 ? x : writer.Cast(x, ScalarType.Float32);

    /// <summary>Numbers as values of a type.</summary>
    public static string FromNumbers(TraceWriter writer, string x, ScalarType type) =>
        type is ScalarType.Float32 or ScalarType.Float64 ? x : writer.Cast(x, type);

    private static string FromTruth(TraceWriter writer, string x, ScalarType type) => IsTruth(type) ? x : ToNumbers(writer, x, ScalarType.Bool);

    private static string ToTruth(TraceWriter writer, string x) => writer.Cast(x, ScalarType.Bool);
}
