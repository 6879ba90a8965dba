using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>TorchSharp's functions that a graph can have, by their names. docs/own-modules.md lists them.</summary>
internal static class TracedFunctions
{
    /// <summary>How a result is written; null: by no function that is known.</summary>
    /// <exception cref="NotTracedException">The function is known, but not as it is used.</exception>
    public static Mapping? Of(FunctionCall call) => call.Name switch
    {
        "exp" => call.Unary("Exp"),
        "log" => call.Unary("Log"),
        "sqrt" => call.Unary("Sqrt"),
        "rsqrt" => call.Unary((w, x) => w.Node("Reciprocal", [w.Node("Sqrt", [x])])),
        "reciprocal" => call.Unary("Reciprocal"),
        "abs" or "absolute" => call.Unary("Abs"),
        "neg" or "negative" or "op_UnaryNegation" => call.Unary("Neg"),
        "cos" => call.Unary("Cos"),
        "sin" => call.Unary("Sin"),
        "floor" => call.Unary("Floor"),
        "sign" or "sgn" => call.Unary("Sign"),
        "square" => call.Unary((w, x) => w.Node("Mul", [x, x])),
        "clamp" or "clip" or "hardtanh" => Clip(call, Bound(call, "min", "min_val", "min_value") ?? (call.Name == "hardtanh" ? -1 : null), Bound(call, "max", "max_val", "max_value") ?? (call.Name == "hardtanh" ? 1 : null)),
        "clamp_min" => Clip(call, Bound(call, "min"), null),
        "clamp_max" => Clip(call, null, Bound(call, "max")),
        "softmax" => Softmax(call, "Softmax"),
        "log_softmax" => Softmax(call, "LogSoftmax"),
        "add" or "op_Addition" => Elementwise.Of(call, "Add"),
        "sub" or "subtract" or "op_Subtraction" => Elementwise.Of(call, "Sub"),
        "mul" or "multiply" or "op_Multiply" => Elementwise.Of(call, "Mul"),
        "div" or "divide" or "op_Division" => Elementwise.Of(call, "Div"),
        "pow" => Elementwise.Of(call, "Pow"),
        "maximum" => Elementwise.Of(call, "Max"),
        "minimum" => Elementwise.Of(call, "Min"),
        "eq" or "op_Equality" => Comparisons.Of(call, "Equal"),
        "ne" or "not_equal" or "op_Inequality" => Comparisons.Of(call, "Equal", isNegated: true),
        "gt" or "greater" or "op_GreaterThan" => Comparisons.Of(call, "Greater"),
        "ge" or "greater_equal" or "op_GreaterThanOrEqual" => Comparisons.Of(call, "GreaterOrEqual"),
        "lt" or "less" or "op_LessThan" => Comparisons.Of(call, "Less"),
        "le" or "less_equal" or "op_LessThanOrEqual" => Comparisons.Of(call, "LessOrEqual"),
        "logical_not" or "bitwise_not" or "op_OnesComplement" => Comparisons.Not(call),
        "logical_and" or "bitwise_and" or "op_BitwiseAnd" => Comparisons.Join(call, "Mul"),
        "logical_or" or "bitwise_or" or "op_BitwiseOr" => Comparisons.Join(call, "Max"),
        "logical_xor" or "bitwise_xor" or "op_ExclusiveOr" => Comparisons.Join(call, "Sub"),
        "any" => Comparisons.Quantified(call, "ReduceMax"),
        "all" => Comparisons.Quantified(call, "ReduceMin"),
        "where" => Comparisons.Where(call),
        "masked_fill" => Comparisons.Fill(call),
        "pad" => Paddings.Of(call),
        "matmul" or "mm" or "bmm" => Products.MatMul(call),
        "linear" => Products.Linear(call),
        "scaled_dot_product_attention" => Products.Attention(call),
        "var" => Variance(call, isDeviation: false),
        "std" => Variance(call, isDeviation: true),
        "normalize" when (call.Number("p") ?? 2) == 2 => Normalize(call),
        "sum" => Reduce(call, "ReduceSum"),
        "mean" => Reduce(call, "ReduceMean"),
        "amax" or "max" => Reduce(call, "ReduceMax"),
        "amin" or "min" => Reduce(call, "ReduceMin"),
        "layer_norm" => LayerNorm(call),
        "max_pool1d" or "max_pool2d" => Pool(call, "MaxPool"),
        "avg_pool1d" or "avg_pool2d" when call.Argument("divisor_override", "divisorOverride") is null => Pool(call, "AveragePool"),
        "adaptive_avg_pool1d" or "adaptive_avg_pool2d" => AdaptivePool(call),
        "cat" or "concat" or "concatenate" or "hstack" => Parts.Concat(call, (call.Name == "hstack" ? 1 : call.Integer("dim")) ?? 0),
        "stack" => Parts.Stack(call),
        "view" or "reshape" or "flatten" or "unflatten" or "view_as" or "reshape_as" => Parts.Reshape(call),
        "repeat" or "tile" => Parts.Repeat(call),
        "repeat_interleave" => Parts.RepeatEach(call),
        "contiguous" or "clone" or "alias" or "detach" or "dropout" or "to" or "to_type" or "type_as" or "float" or "long" or "int" or "bool" or "cpu" or "requires_grad" => Copy(call),
        _ when Activations.Of(call) is { } write => call.Unary(write),
        _ => call.IsInPlace ? null : Parts.View(call), // its result has the same memory whatever it does
    };

    private static double? Bound(FunctionCall call, params string[] names) => call.Argument(names) is not { } given ? null : FunctionCall.NumberOf(given) ?? throw new NotTracedException("has bounds that are no numbers");

    private static Mapping Clip(FunctionCall call, double? least, double? most) => call.Unary(Activations.Clip(least, most));

    private static Mapping Softmax(FunctionCall call, string op)
    {
        var input = call.Input;
        var axis = input.Layout!.Axis(call.Integer("dim") ?? -1);
        return call.Unary((w, x) => Softmax(w, x, op, axis, input.Layout.GraphShape.Length));
    }

    /// <summary>A softmax over any dimension of a graph's value.</summary>
    public static string Softmax(TraceWriter writer, string x, string op, int axis, int rank)
    {
        var last = rank - 1;
        if (axis == last)
            return writer.Node(op, [x], OnnxGraph.Integer("axis", -1));
        long[] swapped = [.. Enumerable.Range(0, rank).Select(d => d == axis ? last : d == last ? (long)axis : d)];
        return writer.Transpose(writer.Node(op, [writer.Transpose(x, swapped)], OnnxGraph.Integer("axis", -1)), swapped);
    }

    private static Mapping Reduce(FunctionCall call, string op)
    {
        if (call.Arguments.Length > 1 && call.Arguments[1] is Tensor)
            return Elementwise.Of(call, op == "ReduceMax" ? "Max" : "Min");
        var (from, to) = (((Tensor)call.Arguments[0]!).dtype, call.Result.dtype);
        return Over(call, (axes, keeps, w, x) => Comparisons.FromNumbers(w, w.Reduce(op, Comparisons.ToNumbers(w, x, from), axes, keeps), to));
    }

    // Over some dimensions, all if none is named.
    public static Mapping Over(FunctionCall call, Func<int[], bool, TraceWriter, string, string> write)
    {
        var layout = call.Input.Layout!;
        var keeps = call.Flag("keepdim");
        var given = call.Dimensions("dim", "dims", "dimensions") ?? [.. new[] { "dim0", "dim1", "dim2" }.Select(n => call.Integer(n)).OfType<long>()];
        var dimensions = (given.Length > 0 ? given : Enumerable.Range(0, layout.Rank).Select(d => (long)d)).Select(d => d < 0 ? d + layout.Rank : d).ToArray();
        var axes = dimensions.Select(d => layout.Axis(d)).ToArray();
        var rowAxis = keeps ? layout.RowAxis : layout.RowAxis - dimensions.Count(d => d < layout.RowAxis);
        return new Mapping([call.Input], new RowLayout(call.Result.shape, rowAxis, layout.Fold), (w, names) => write(axes, keeps, w, names[0]));
    }

    private static Mapping Variance(FunctionCall call, bool isDeviation)
    {
        var layout = call.Input.Layout!;
        var isUnbiased = call.Argument("unbiased") is not false;
        return Over(call, (axes, keeps, w, x) =>
        {
            var centered = w.Node("Sub", [x, w.Reduce("ReduceMean", x, axes, keeps: true)]);
            var mean = w.Reduce("ReduceMean", w.Node("Mul", [centered, centered]), axes, keeps);
            var count = axes.Aggregate(1.0, (n, axis) => n * layout.GraphShape[axis]);
            var variance = isUnbiased ? w.Node("Mul", [mean, w.Constant((float)(count / (count - 1)))]) : mean;
            return isDeviation ? w.Node("Sqrt", [variance]) : variance;
        });
    }

    // To length 1 (functional.normalize).
    private static Mapping Normalize(FunctionCall call)
    {
        var (axis, least) = (call.Input.Layout!.Axis(call.Integer("dim") ?? 1), call.Number("eps") ?? 1e-12);
        return call.Unary((w, x) =>
        {
            var length = w.Node("Sqrt", [w.Reduce("ReduceSum", w.Node("Mul", [x, x]), [axis], keeps: true)]);
            return w.Node("Div", [x, w.Node("Max", [length, w.Constant((float)least)])]);
        });
    }

    private static Mapping Pool(FunctionCall call, string op)
    {
        var (layout, shape) = (Images(call), call.Result.shape);
        var (kernel, strides, padding, dilation) = (call.Dimensions("kernel_size") ?? [], call.Dimensions("stride", "strides"), call.Dimensions("padding"), call.Dimensions("dilation"));
        var (isCeiling, counts) = (call.Flag("ceil_mode"), op == "MaxPool" ? (bool?)null : call.Flag("count_include_pad"));
        return call.Unary((w, x) => KnownLayers.Pool(new LayerCall(w, x, layout, layout.With(shape)), op, kernel, strides, padding, dilation, isCeiling, counts));
    }

    private static Mapping AdaptivePool(FunctionCall call)
    {
        var (layout, shape) = (Images(call), call.Result.shape);
        return call.Unary((w, x) => KnownLayers.AdaptivePool(new LayerCall(w, x, layout, layout.With(shape))));
    }

    private static RowLayout Images(FunctionCall call) => call.Input.Layout is { RowAxis: 0, Fold: 1, Rank: 3 or 4 } layout ? layout : throw new NotTracedException("takes what is not [rows, channels, ...]");

    private static Mapping LayerNorm(FunctionCall call)
    {
        var layout = call.Input.Layout!;
        var shape = call.Dimensions("normalized_shape") ?? [];
        if (shape.Length >= layout.FromRight)
            throw new NotTracedException("normalises over rows");
        var (weight, bias, epsilon) = (Outside(call, "weight"), Outside(call, "bias"), call.Number("eps") ?? 1e-5);
        return call.Unary((w, x) =>
        {
            var gain = weight is null ? w.Constant(1, shape) : w.Constant(weight.Compute(w.Current));
            return w.Node("LayerNormalization", bias is null ? [x, gain] : [x, gain, w.Constant(bias.Compute(w.Current))], OnnxGraph.Integer("axis", -shape.Length), OnnxGraph.Number("epsilon", epsilon));
        });
    }

    /// <summary>An argument that depends on no row; null: it is not given.</summary>
    /// <exception cref="NotTracedException">It is a value of rows.</exception>
    public static OutsideValue? Outside(FunctionCall call, params string[] names) =>
        call.Argument(names) is not Tensor tensor ? null : call.Known(tensor).Outside ?? throw new NotTracedException($"has values of rows as its {names[0]}");

    private static Mapping Copy(FunctionCall call)
    {
        var (from, to) = (((Tensor)call.Arguments[0]!).dtype, call.Result.dtype);
        if (call.Name == "dropout" && call.Flag("training"))
            throw new NotTracedException("drops numbers when it is not being trained too");
        return call.AsItIs((w, x) => TypeOf(from) == TypeOf(to) ? w.Node("Identity", [x]) : w.Cast(x, to));
    }

    /// <summary>A type as the graph has it.</summary>
    public static long TypeOf(ScalarType type) => type switch
    {
        ScalarType.Float32 or ScalarType.Float64 => (long)TensorProto.Types.DataType.Float,
        ScalarType.Int64 or ScalarType.Int32 or ScalarType.Int16 => (long)TensorProto.Types.DataType.Int64,
        ScalarType.Bool => (long)TensorProto.Types.DataType.Bool,
        _ => throw new NotTracedException($"makes numbers of type {type}"),
    };
}
