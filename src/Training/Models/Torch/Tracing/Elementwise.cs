using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Functions of two values, number by number, of which one may be a constant, a parameter, or a number.</summary>
internal static class Elementwise
{
    public static Mapping Of(FunctionCall call, string op)
    {
        var operands = call.Arguments.Take(2).Select(a => a is Tensor tensor ? call.Known(tensor) : FunctionCall.NumberOf(a) is { } number ? (object)number : throw new NotTracedException("has an operand that is no tensor and no number")).ToArray();
        if (call.Number("alpha") is { } factor && factor != 1)
            throw new NotTracedException($"has a factor (alpha) of {factor}, expected 1: multiply before");
        if (call.Argument("rounding_mode") is { } mode && $"{mode}" is not ("None" or "null" or ""))
            throw new NotTracedException("rounds what it divides");
        return Of(operands, call.Result, (writer, names) => writer.Node(op, names));
    }

    /// <summary>x where a mask that depends on no row is false, and a number where it is true: a sum, as an infinite number stands for a very large one.</summary>
    public static Mapping Fill(FunctionCall call)
    {
        var mask = TracedFunctions.Outside(call, "mask") ?? throw new NotTracedException("has no mask");
        var value = call.Number("value") ?? throw new NotTracedException("fills with what is no number");
        var finite = Math.Clamp(value, float.MinValue, float.MaxValue);
        var keep = new Derived(mask, m => m.logical_not().to(ScalarType.Float32));
        var fill = new Derived(mask, m => m.to(ScalarType.Float32).mul(finite));
        var layout = call.Input.Layout!.With(call.Result.shape);
        return call.Unary((w, x) => w.Node("Add", [w.Node("Mul", [x, w.Beside(keep, layout)]), w.Beside(fill, layout)]));
    }

    /// <summary>A mapping of operands that lie side by side.</summary>
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
        if (rows.Any(r => r.Tensor.dtype is not (ScalarType.Float32 or ScalarType.Float64)) || result.dtype is not (ScalarType.Float32 or ScalarType.Float64))
            throw new NotTracedException($"makes numbers of type {result.dtype} of {rows[0].Tensor.dtype}");
        var layout = new RowLayout(result.shape, (int)result.dim() - fromRight, fold);
        return new Mapping(rows, layout, (writer, names) =>
        {
            var next = 0;
            return write(writer, [.. operands.Select(o => o switch
            {
                TraceValue { Layout: { } own } => own.Rank == layout.Rank ? names[next++] : writer.Reshape(names[next++], own.Padded(layout.Rank).RowShape),
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
