namespace MLDistributed.Protocol.Onnx;

/// <summary>The operators that are known: what each takes, and the step it becomes. Each computes every row by itself.</summary>
internal sealed class OnnxOperators(NodeProto node, OnnxAttributes attributes, Func<string, OnnxOperand> operand, Func<string, int[]> integers, Func<int[], OnnxOperand> output)
{
    /// <exception cref="FormatException">It is not known, or does not fit.</exception>
    public OnnxStep? Plan() => node.OpType switch
    {
        "Add" => Elementwise((a, b) => a + b),
        "Sub" => Elementwise((a, b) => a - b),
        "Mul" => Elementwise((a, b) => a * b),
        "Div" => Elementwise((a, b) => a / b),
        "Max" => Elementwise(MathF.Max),
        "Min" => Elementwise(MathF.Min),
        "IsNaN" => Unary(x => float.IsNaN(x) ? 1 : 0),
        "Where" => Where(),
        "Identity" or "Flatten" or "Reshape" => Reshape(),
        "Relu" => Rectify(),
        "Sigmoid" => Unary(x => 1 / (1 + MathF.Exp(-x))),
        "Tanh" => Unary(MathF.Tanh),
        "Softplus" => Unary(x => MathF.Max(x, 0) + MathF.Log(1 + MathF.Exp(-MathF.Abs(x)))),
        "Softsign" => Unary(x => x / (1 + MathF.Abs(x))),
        "HardSwish" => Unary(x => x * Math.Clamp((x / 6) + 0.5f, 0, 1)),
        "Exp" => Unary(MathF.Exp),
        "Sqrt" => Unary(MathF.Sqrt),
        "Neg" => Unary(x => -x),
        "Abs" => Unary(MathF.Abs),
        "Erf" => throw new FormatException("is not known; use Gelu"),
        "LeakyRelu" => attributes.Number("alpha", 0.01f) is var slope ? Unary(x => x >= 0 ? x : slope * x) : null,
        "Elu" => attributes.Number("alpha", 1) is var alpha ? Unary(x => x >= 0 ? x : alpha * (MathF.Exp(x) - 1)) : null,
        "HardSigmoid" => (attributes.Number("alpha", 0.2f), attributes.Number("beta", 0.5f)) is var (a, b) ? Unary(x => Math.Clamp((a * x) + b, 0, 1)) : null,
        "Selu" => (attributes.Number("alpha", 1.67326319217681884765625f), attributes.Number("gamma", 1.05070102214813232421875f)) is var (a, g) ? Unary(x => x > 0 ? g * x : g * a * (MathF.Exp(x) - 1)) : null,
        "Gelu" => PlanGelu(),
        "Clip" => Clip(),
        "Softmax" => Softmax(isLogarithm: false),
        "LogSoftmax" => Softmax(isLogarithm: true),
        "Gemm" => Gemm(),
        "MatMul" => MatMul(),
        "Conv" => Conv(),
        "MaxPool" => Pool(isMax: true),
        "AveragePool" => Pool(isMax: false),
        "GlobalAveragePool" => GlobalAverage(),
        "BatchNormalization" => BatchNorm(),
        "LayerNormalization" => LayerNorm(),
        "Transpose" => Transpose(),
        "Concat" => Concat(),
        _ => throw new FormatException("is no operator that this release knows"),
    };

    private OnnxOperand Row(int index) => index < node.Input.Count && operand(node.Input[index]) is { IsConstant: false } row ? row : throw new FormatException($"has no value of a row as input {index}");

    private OnnxOperand Constant(int index, params int[]? dims)
    {
        if (index >= node.Input.Count || operand(node.Input[index]) is not { IsConstant: true } constant)
            throw new FormatException($"has no constant as input {index}");
        return dims is null || constant.Dims.AsSpan().SequenceEqual(dims) ? constant
            : throw new FormatException($"has a constant [{string.Join(", ", constant.Dims)}] as input {index}, expected [{string.Join(", ", dims)}]");
    }

    private void Inputs(int least, int most)
    {
        if (node.Input.Count < least || node.Input.Count > most)
            throw new FormatException($"has {node.Input.Count} inputs, expected {least} to {most}");
    }

    private OnnxStep Unary(Func<float, float> function)
    {
        Inputs(1, 1);
        var input = Row(0);
        return new UnaryStep(input.Slot, output(input.Dims).Slot, function);
    }

    private OnnxStep Rectify()
    {
        Inputs(1, 1);
        var input = Row(0);
        return new RectifyStep(input.Slot, output(input.Dims).Slot);
    }

    // Values of a row have the same number of dimensions side by side; a constant may have fewer, or one more for all rows.
    private int[] Joined(params OnnxOperand[] operands)
    {
        var rows = operands.Where(o => !o.IsConstant).ToList();
        if (rows.Count == 0 || rows.Exists(r => r.Dims.Length != rows[0].Dims.Length))
            throw new FormatException("computes with constants alone, or with values of another number of dimensions");
        var dims = rows[0].Dims;
        foreach (var other in operands)
            dims = OnnxShape.Join(dims, Trimmed(other, rows[0].Dims.Length)) ?? throw new FormatException($"has [{string.Join(", ", other.Dims)}] beside [{string.Join(", ", dims)}]");
        return dims;
    }

    private static int[] Trimmed(OnnxOperand operand, int rank) =>
        operand.IsConstant && operand.Dims.Length == rank + 1 && operand.Dims[0] == 1 ? operand.Dims[1..]
        : operand.Dims.Length <= rank ? operand.Dims : throw new FormatException($"has [{string.Join(", ", operand.Dims)}] beside values of {rank} dimensions");

    private OnnxStep Elementwise(Func<float, float, float> function)
    {
        Inputs(2, 2);
        var (left, right) = (operand(node.Input[0]), operand(node.Input[1]));
        var dims = Joined(left, right);
        if (node.OpType == "Add" && left.Dims.AsSpan().SequenceEqual(right.Dims) && !left.IsConstant && !right.IsConstant)
            return new SumStep(left.Slot, right.Slot, output(dims).Slot);
        return new BinaryStep(left, OnnxShape.Map(Trimmed(left, dims.Length), dims), right, OnnxShape.Map(Trimmed(right, dims.Length), dims), output(dims).Slot, function);
    }

    private OnnxStep Where()
    {
        Inputs(3, 3);
        var (condition, yes, no) = (Row(0), operand(node.Input[1]), operand(node.Input[2]));
        var dims = Joined(condition, yes, no);
        if (condition.Length != dims.Aggregate(1, (a, b) => a * b))
            throw new FormatException("has a condition of another size");
        return new WhereStep(condition.Slot, yes, OnnxShape.Map(Trimmed(yes, dims.Length), dims), no, OnnxShape.Map(Trimmed(no, dims.Length), dims), output(dims).Slot);
    }

    private OnnxStep Reshape()
    {
        var input = Row(0);
        var dims = input.Dims;
        if (node.OpType == "Flatten")
        {
            Inputs(1, 1);
            if (attributes.Integer("axis", 1) != 1)
                throw new FormatException("flattens rows too");
            dims = [input.Length];
        }
        else if (node.OpType == "Reshape")
        {
            Inputs(2, 2);
            var shape = integers(node.Input[1]);
            if (shape.Length < 2 || shape[0] != 0 || shape.Skip(1).Any(d => d < 1) || shape.Skip(1).Aggregate(1L, (a, b) => checked(a * b)) != input.Length)
                throw new FormatException($"makes [{string.Join(", ", shape.Take(8))}] of [N, {string.Join(", ", input.Dims)}], expected 0 for the rows and as many numbers");
            dims = shape[1..];
        }

        return new CopyStep(input.Slot, output(dims).Slot);
    }

    private OnnxStep PlanGelu()
    {
        Inputs(1, 1);
        var input = Row(0);
        return attributes.Text("approximate", "none") switch
        {
            "none" => new GeluStep(input.Slot, output(input.Dims).Slot),
            "tanh" => Unary(x => 0.5f * x * (1 + MathF.Tanh(0.7978845608f * (x + (0.044715f * x * x * x))))),
            _ => throw new FormatException("approximates in a way that is not known"),
        };
    }

    private OnnxStep Clip()
    {
        Inputs(1, 3);
        var least = Bound(1, float.NegativeInfinity);
        var most = Bound(2, float.PositiveInfinity);
        var input = Row(0);
        return new UnaryStep(input.Slot, output(input.Dims).Slot, x => MathF.Min(MathF.Max(x, least), most));

        float Bound(int index, float otherwise) => node.Input.Count > index && node.Input[index].Length > 0 ? Constant(index, []).Data![0] : otherwise;
    }

    private OnnxStep Softmax(bool isLogarithm)
    {
        Inputs(1, 1);
        var input = Row(0);
        var axis = attributes.Integer("axis", -1);
        return axis == -1 || axis == input.Dims.Length ? new SoftmaxStep(input.Slot, output(input.Dims).Slot, input.Dims[^1], isLogarithm) : throw new FormatException($"is over axis {axis}, expected the last");
    }

    private OnnxStep Gemm()
    {
        Inputs(2, 3);
        var input = Row(0);
        if (input.Dims.Length != 1 || attributes.Integer("transB", 0) != 1 || attributes.Integer("transA", 0) != 0 || attributes.Number("alpha", 1) != 1 || attributes.Number("beta", 1) != 1)
            throw new FormatException($"takes [N, {string.Join(", ", input.Dims)}] or has factors, expected [N, inputs] with transB alone");
        var weights = Constant(1, null);
        if (weights.Dims is not [var outputs, var inputs] || inputs != input.Length || outputs < 1)
            throw new FormatException($"has weights [{string.Join(", ", weights.Dims)}], expected [outputs, {input.Length}]");
        return new LinearStep(input.Slot, output([outputs]).Slot, weights.Data!, node.Input.Count > 2 ? Constant(2, outputs).Data : null, inputs, outputs);
    }

    // The last dimension times a constant matrix.
    private OnnxStep MatMul()
    {
        Inputs(2, 2);
        var input = Row(0);
        var matrix = Constant(1, null);
        if (matrix.Dims is not [var inputs, var outputs] || inputs != input.Dims[^1] || outputs < 1)
            throw new FormatException($"has a matrix [{string.Join(", ", matrix.Dims)}], expected [{input.Dims[^1]}, outputs]");
        var transposed = new float[matrix.Length];
        for (var i = 0; i < inputs; i++)
            for (var o = 0; o < outputs; o++)
                transposed[(o * inputs) + i] = matrix.Data![(i * outputs) + o];
        return new LinearStep(input.Slot, output([.. input.Dims[..^1], outputs]).Slot, transposed, null, inputs, outputs);
    }

    private OnnxStep Conv()
    {
        Inputs(2, 3);
        var input = Row(0);
        var rank = input.Dims.Length - 1;
        var weights = Constant(1, null);
        var groups = attributes.Integer("group", 1);
        if (rank is not (1 or 2) || weights.Dims.Length != rank + 2 || groups < 1 || weights.Dims[0] % groups != 0 || (long)weights.Dims[1] * groups != input.Dims[0])
            throw new FormatException($"has weights [{string.Join(", ", weights.Dims)}] in {groups} groups for [N, {string.Join(", ", input.Dims)}]");
        var window = Window(input, attributes.List("kernel_shape", rank, weights.Dims[2..]));
        if (!window.Kernel.AsSpan().SequenceEqual(weights.Dims.AsSpan(2)))
            throw new FormatException($"has a kernel [{string.Join(", ", window.Kernel)}] and weights [{string.Join(", ", weights.Dims)}]");
        var result = output([weights.Dims[0], .. window.Sizes(input.Dims[1..])]);
        var bias = node.Input.Count > 2 ? Constant(2, weights.Dims[0]).Data : null;
        return MatrixConvStep.Of(input, result, window, weights, bias, groups) ?? new ConvStep(input, result, window, weights, bias, groups);
    }

    private OnnxStep Pool(bool isMax)
    {
        Inputs(1, 1);
        var input = Row(0);
        var rank = input.Dims.Length - 1;
        if (rank is not (1 or 2))
            throw new FormatException($"takes [N, {string.Join(", ", input.Dims)}], expected [N, channels, length] or [N, channels, height, width]");
        var window = Window(input, attributes.List("kernel_shape", rank, []));
        window.IsCeiling = attributes.Integer("ceil_mode", 0) == 1;
        var counts = !isMax && attributes.Integer("count_include_pad", 0) == 1;
        return new PoolStep(input, output([input.Dims[0], .. window.Sizes(input.Dims[1..])]), window, isMax, counts);
    }

    private OnnxWindow Window(OnnxOperand input, int[] kernel)
    {
        var rank = input.Dims.Length - 1;
        var ones = Enumerable.Repeat(1, rank).ToArray();
        return new OnnxWindow(kernel, attributes.List("strides", rank, ones), attributes.List("pads", 2 * rank, new int[2 * rank]), attributes.List("dilations", rank, ones), input.Dims[1..]);
    }

    private OnnxStep GlobalAverage()
    {
        Inputs(1, 1);
        var input = Row(0);
        if (input.Dims.Length < 2)
            throw new FormatException($"takes [N, {string.Join(", ", input.Dims)}], expected places behind the channels");
        return new MeanStep(input.Slot, output([input.Dims[0], .. Enumerable.Repeat(1, input.Dims.Length - 1)]).Slot, input.Length / input.Dims[0]);
    }

    private OnnxStep BatchNorm()
    {
        Inputs(5, 5);
        var input = Row(0);
        var channels = input.Dims[0];
        var epsilon = attributes.Number("epsilon", 1e-5f);
        var (scale, shift) = (new float[channels], new float[channels]);
        var (gain, bias, mean, variance) = (Constant(1, channels).Data!, Constant(2, channels).Data!, Constant(3, channels).Data!, Constant(4, channels).Data!);
        for (var c = 0; c < channels; c++)
        {
            if (!(variance[c] + epsilon > 0))
                throw new FormatException($"has a variance of {variance[c]}, expected one from 0");
            var factor = gain[c] / Math.Sqrt((double)variance[c] + epsilon);
            (scale[c], shift[c]) = ((float)factor, (float)(bias[c] - (mean[c] * factor)));
        }

        return new ScaleStep(input.Slot, output(input.Dims).Slot, scale, shift, input.Length / channels);
    }

    private OnnxStep LayerNorm()
    {
        Inputs(2, 3);
        var input = Row(0);
        var axis = attributes.Integer("axis", -1);
        var first = axis < 0 ? input.Dims.Length + axis : axis - 1;
        if (first < 0 || first >= input.Dims.Length)
            throw new FormatException($"is over axis {axis} and those behind it, expected some of a row's");
        var dims = input.Dims[first..];
        return new LayerNormStep(input.Slot, output(input.Dims).Slot, Constant(1, dims).Data!, node.Input.Count > 2 ? Constant(2, dims).Data : null, attributes.Number("epsilon", 1e-5f));
    }

    private OnnxStep Transpose()
    {
        Inputs(1, 1);
        var input = Row(0);
        var rank = input.Dims.Length + 1;
        var order = attributes.List("perm", rank, []);
        if (order.Length != rank || order[0] != 0 || !order.Order().SequenceEqual(Enumerable.Range(0, rank)))
            throw new FormatException($"orders axes as [{string.Join(", ", order)}], expected 0, the rows, first, and each once");
        var axes = order.Skip(1).Select(o => o - 1).ToArray();
        var strides = new int[rank - 1];
        for (var (d, stride) = (rank - 2, 1); d >= 0; stride *= input.Dims[d], d--)
            strides[d] = stride;
        var dims = axes.Select(a => input.Dims[a]).ToArray();
        var map = new int[input.Length];
        for (var i = 0; i < map.Length; i++)
            for (var (d, rest) = (rank - 2, i); d >= 0; rest /= dims[d], d--)
                map[i] += rest % dims[d] * strides[axes[d]];
        return new GatherStep(input.Slot, output(dims).Slot, map);
    }

    private OnnxStep Concat()
    {
        Inputs(1, 1000);
        var parts = Enumerable.Range(0, node.Input.Count).Select(Row).ToArray();
        var rank = parts[0].Dims.Length;
        var axis = attributes.Integer("axis", 0) is var given && given < 0 ? rank + given : given - 1;
        if (axis < 0 || axis >= rank || parts.Any(p => p.Dims.Length != rank || Enumerable.Range(0, rank).Any(d => d != axis && p.Dims[d] != parts[0].Dims[d])))
            throw new FormatException("joins values of other shapes, or rows");
        var dims = parts[0].Dims.ToArray();
        dims[axis] = parts.Aggregate(0, (sum, p) => checked(sum + p.Dims[axis]));
        var outer = dims[..axis].Aggregate(1, (a, b) => a * b);
        return new ConcatStep([.. parts.Select(p => (p.Slot, p.Length / outer))], output(dims).Slot, outer);
    }
}
