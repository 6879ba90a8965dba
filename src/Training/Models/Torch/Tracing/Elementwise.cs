using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Functions of two values, number by number, of which one may be a constant, a parameter, or a number.</summary>
internal static class Elementwise
{
    public static Mapping Of(FunctionCall call, string op)
    {
        var operands = Operands(call);
        if (Comparisons.IsTruth(call.Result.dtype))
            throw new NotTracedException("computes with truths alone, expected logical_and or logical_or, or numbers");
        if (call.Number("alpha") is { } factor && factor != 1)
            throw new NotTracedException($"has a factor (alpha) of {factor}, expected 1: multiply before");
        if (call.Argument("rounding_mode") is { } mode && $"{mode}" is not ("None" or "null" or ""))
            throw new NotTracedException("rounds what it divides");
        return Of(operands, call.Result, (writer, names) => writer.Node(op, names));
    }

    /// <summary>The first two arguments as operands.</summary>
    public static object[] Operands(FunctionCall call) => [.. call.Arguments.Take(2).Select(a => Operand(call, a))];

    /// <summary>An argument as an operand: a value, or a number.</summary>
    public static object Operand(FunctionCall call, object? argument) => argument is Tensor tensor ? call.Known(tensor)
        : FunctionCall.NumberOf(argument) is { } number ? number : throw new NotTracedException("has an operand that is no tensor and no number");

    /// <summary>A mapping of operands that lie side by side, ids and truths among them as numbers.</summary>
    /// <param name="operands">Values, or numbers.</param>
    /// <param name="result">Its result.</param>
    /// <param name="write">From the operands' names.</param>
    public static Mapping Of(object[] operands, Tensor result, Func<TraceWriter, string[], string> write)
    {
        var rows = operands.OfType<TraceValue>().Where(v => v.Layout is not null).ToArray();
        if (rows.Length == 0)
            throw new NotTracedException("has no value of rows");
        var (fromRight, fold) = (rows[0].Layout!.FromRight, rows[0].Layout!.Fold);
        if (rows.Any(r => r.Layout!.FromRight != fromRight || r.Layout.Fold != fold))
            throw new NotTracedException("has rows in other dimensions of its operands");
        if (result.dtype is not (ScalarType.Float32 or ScalarType.Float64 or ScalarType.Bool))
            throw new NotTracedException($"makes numbers of type {result.dtype} of {rows[0].Tensor.dtype}");
        // When a graph is written the tensors are gone.
        var types = Array.ConvertAll(operands, o => o is TraceValue { Layout: not null, Tensor: var tensor } ? tensor.dtype : ScalarType.Float32);
        var layout = new RowLayout(result.shape, (int)result.dim() - fromRight, fold);
        return new Mapping(rows, layout, (writer, names) =>
        {
            var next = 0;
            return write(writer, [.. operands.Select((o, i) => o switch
            {
                TraceValue { Layout: { } own } => Comparisons.ToNumbers(writer, own.Rank == layout.Rank ? names[next++] : writer.Reshape(names[next++], own.Padded(layout.Rank).RowShape), types[i]),
                TraceValue { Outside: { } outside } => writer.Beside(outside, layout),
                _ => writer.Constant((float)(double)o),
            })]);
        });
    }

    /// <summary>What is made of something that depends on no row.</summary>
    public sealed class Derived(OutsideValue from, Func<Tensor, Tensor> make) : OutsideValue
    {
        public override Tensor Compute(Func<string, Tensor> parameter) => make(from.Compute(parameter));
    }
}
