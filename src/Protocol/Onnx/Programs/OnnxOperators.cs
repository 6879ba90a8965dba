using System.Numerics;

namespace MLDistributed.Protocol.Onnx;

/// <summary>The operators that are known: what each takes, and the step it becomes. Each computes every row by itself.</summary>
internal sealed partial class OnnxOperators(NodeProto node, OnnxAttributes attributes, Func<string, OnnxOperand> operand, Func<string, int[]> integers, Func<int[], int, OnnxOperand> output, Action<long> scratch)
{
    /// <exception cref="FormatException">It is not known, or does not fit.</exception>
    public OnnxStep? Plan() => node.OpType switch
    {
        "Add" => Elementwise((a, b) => a + b, (a, b) => a + b),
        "Sub" => Elementwise((a, b) => a - b, (a, b) => a - b),
        "Mul" => Elementwise((a, b) => a * b, (a, b) => a * b),
        "Div" => Elementwise((a, b) => a / b, (a, b) => a / b),
        "Pow" => Elementwise(MathF.Pow),
        "Max" => Elementwise(MathF.Max),
        "Min" => Elementwise(MathF.Min),
        "Equal" => Elementwise((a, b) => a == b ? 1 : 0),
        "Greater" => Elementwise((a, b) => a > b ? 1 : 0),
        "GreaterOrEqual" => Elementwise((a, b) => a >= b ? 1 : 0),
        "Less" => Elementwise((a, b) => a < b ? 1 : 0),
        "LessOrEqual" => Elementwise((a, b) => a <= b ? 1 : 0),
        "Not" => Unary(x => 1 - x),
        "IsNaN" => Unary(x => float.IsNaN(x) ? 1 : 0),
        "Where" => Where(),
        "Identity" or "Flatten" or "Reshape" => Reshape(),
        "Relu" => Rectify(),
        "Sigmoid" => Unary(VectorMath.Sigmoid),
        "Tanh" => Unary(VectorMath.Tanh),
        "Softplus" => Unary(Softplus),
        "Softsign" => Unary(x => x / (1 + MathF.Abs(x))),
        "HardSwish" => Unary(x => x * Math.Clamp((x / 6) + 0.5f, 0, 1)),
        "Exp" => Unary(Vector.Exp),
        "Log" => Unary(MathF.Log),
        "Sqrt" => Unary(Vector.SquareRoot),
        "Reciprocal" => Unary(x => Vector<float>.One / x),
        "Neg" => Unary(Vector.Negate),
        "Abs" => Unary(Vector.Abs),
        "Sin" => Unary(MathF.Sin),
        "Cos" => Unary(MathF.Cos),
        "Floor" => Unary(MathF.Floor),
        "Sign" => Unary(x => float.IsNaN(x) ? x : MathF.Sign(x)),
        "Cast" => Cast(),
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
        "ConvTranspose" => ConvTranspose(),
        "MaxPool" => Pool(isMax: true),
        "AveragePool" => Pool(isMax: false),
        "GlobalAveragePool" => GlobalAverage(),
        "BatchNormalization" => BatchNorm(),
        "LayerNormalization" => LayerNorm(),
        "InstanceNormalization" => InstanceNorm(),
        "LSTM" => Recurrent(RecurrentKind.Lstm),
        "GRU" => Recurrent(RecurrentKind.Gru),
        "RNN" => Recurrent(RecurrentKind.Elman),
        "Transpose" => Transpose(),
        "Concat" => Concat(),
        "Slice" => Slice(),
        "Gather" => Gather(),
        "Pad" => Pad(),
        "Expand" => Expand(),
        "ReduceSum" => Reduce((a, b) => a + b, (a, b) => a + b),
        "ReduceMean" => Reduce((a, b) => a + b, (a, b) => a + b, isMean: true),
        "ReduceMax" => Reduce(MathF.Max, Vector.Max),
        "ReduceMin" => Reduce(MathF.Min, Vector.Min),
        _ => throw new FormatException("is no operator that this release knows"),
    };

    // In double, where what is small beside 1 is not lost.
    private static float Softplus(float x) => (float)(Math.Max(x, 0) + Math.Log(1 + Math.Exp(-Math.Abs((double)x))));

    private OnnxOperand Row(int index) => Any(index) is { IsConstant: false, RowAxis: 0 } row ? row : throw new FormatException($"has no value of a row, rows first, as input {index}");

    // With a dimension beside that of the rows.
    private OnnxOperand WideRow(int index) => Row(index) is { Dims.Length: > 0 } row ? row : throw new FormatException($"takes [N] as input {index}, expected numbers of each row");

    private OnnxOperand Any(int index) => index < node.Input.Count ? operand(node.Input[index]) : throw new FormatException($"has no input {index}");

    private OnnxOperand Output(int[] dims, int rowAxis = 0) => output(dims, rowAxis);

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
        return new UnaryStep(input.Slot, Output(input.Dims).Slot, function);
    }

    private OnnxStep Unary(Func<Vector<float>, Vector<float>> function)
    {
        Inputs(1, 1);
        var input = Row(0);
        return new VectorStep(input.Slot, Output(input.Dims).Slot, function);
    }

    private OnnxStep Rectify()
    {
        Inputs(1, 1);
        var input = Row(0);
        return new RectifyStep(input.Slot, Output(input.Dims).Slot);
    }

    // Values of a row have the same number of dimensions side by side; a constant may have fewer, or one more for all rows.
    private int[] Joined(params OnnxOperand[] operands)
    {
        var rows = operands.Where(o => !o.IsConstant).ToList();
        if (rows.Count == 0 || rows.Exists(r => r.Dims.Length != rows[0].Dims.Length || r.RowAxis != 0))
            throw new FormatException("computes with constants alone, with values of another number of dimensions, or not with rows first");
        var dims = rows[0].Dims;
        foreach (var other in operands)
            dims = OnnxShape.Join(dims, Trimmed(other, rows[0].Dims.Length)) ?? throw new FormatException($"has [{string.Join(", ", other.Dims)}] beside [{string.Join(", ", dims)}]");
        return dims;
    }

    private static int[] Trimmed(OnnxOperand operand, int rank) =>
        operand.IsConstant && operand.Dims.Length == rank + 1 && operand.Dims[0] == 1 ? operand.Dims[1..]
        : operand.Dims.Length <= rank ? operand.Dims : throw new FormatException($"has [{string.Join(", ", operand.Dims)}] beside values of {rank} dimensions");

    private OnnxStep Elementwise(Func<float, float, float> function, Func<Vector<float>, Vector<float>, Vector<float>>? vectors = null)
    {
        Inputs(2, 2);
        var (left, right) = (operand(node.Input[0]), operand(node.Input[1]));
        var dims = Joined(left, right);
        var (leftDims, rightDims) = (Trimmed(left, dims.Length), Trimmed(right, dims.Length));
        var result = Output(dims);
        var block = Math.Min(OnnxShape.Run(leftDims, dims), OnnxShape.Run(rightDims, dims));
        return vectors is not null && block >= Vector<float>.Count
            ? new BlockStep(left, right, result, block, vectors)
            : new BinaryStep(left, OnnxShape.Map(leftDims, dims), right, OnnxShape.Map(rightDims, dims), result.Slot, function);
    }

    // Whole numbers, and truths as 1 and 0, are kept as floats.
    private OnnxStep Cast()
    {
        Inputs(1, 1);
        var input = Row(0);
        return attributes.Integer("to", 0) switch
        {
            (int)TensorProto.Types.DataType.Float => new CopyStep(input.Slot, Output(input.Dims).Slot),
            (int)TensorProto.Types.DataType.Int64 => new UnaryStep(input.Slot, Output(input.Dims).Slot, MathF.Truncate),
            (int)TensorProto.Types.DataType.Bool => new UnaryStep(input.Slot, Output(input.Dims).Slot, x => x == 0 ? 0 : 1),
            var type => throw new FormatException($"makes numbers of type {type}, expected float (1), int64 (7) or bool (9)"),
        };
    }

    private OnnxStep Where()
    {
        Inputs(3, 3);
        var (condition, yes, no) = (Row(0), operand(node.Input[1]), operand(node.Input[2]));
        var dims = Joined(condition, yes, no);
        return new WhereStep(condition.Slot, OnnxShape.Map(condition.Dims, dims), yes, OnnxShape.Map(Trimmed(yes, dims.Length), dims), no, OnnxShape.Map(Trimmed(no, dims.Length), dims), Output(dims).Slot);
    }

    private OnnxStep PlanGelu()
    {
        Inputs(1, 1);
        var input = Row(0);
        return attributes.Text("approximate", "none") switch
        {
            "none" => new GeluStep(input.Slot, Output(input.Dims).Slot),
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
        return new UnaryStep(input.Slot, Output(input.Dims).Slot, x => MathF.Min(MathF.Max(x, least), most));

        float Bound(int index, float otherwise) => node.Input.Count > index && node.Input[index].Length > 0 ? Constant(index, []).Data![0] : otherwise;
    }

    private OnnxStep Softmax(bool isLogarithm)
    {
        Inputs(1, 1);
        var input = WideRow(0);
        var axis = attributes.Integer("axis", -1);
        return axis == -1 || axis == input.Dims.Length ? new SoftmaxStep(input.Slot, Output(input.Dims).Slot, input.Dims[^1], isLogarithm) : throw new FormatException($"is over axis {axis}, expected the last");
    }
}
