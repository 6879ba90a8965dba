namespace MLDistributed.Protocol.Onnx;

/// <content>Layers: products, convolutions, pools, normalisations, recurrences.</content>
internal sealed partial class OnnxOperators
{
    private const int MaxHidden = 1 << 20;

    private OnnxStep Gemm()
    {
        Inputs(2, 3);
        var input = Row(0);
        if (input.Dims.Length != 1 || attributes.Integer("transB", 0) != 1 || attributes.Integer("transA", 0) != 0 || attributes.Number("alpha", 1) != 1 || attributes.Number("beta", 1) != 1)
            throw new FormatException($"takes [N, {string.Join(", ", input.Dims)}] or has factors, expected [N, inputs] with transB alone");
        var weights = Constant(1, null);
        if (weights.Dims is not [var outputs, var inputs] || inputs != input.Length || outputs < 1)
            throw new FormatException($"has weights [{string.Join(", ", weights.Dims)}], expected [outputs, {input.Length}]");
        return new LinearStep(input.Slot, Output([outputs]).Slot, weights.Data!, node.Input.Count > 2 ? Constant(2, outputs).Data : null, inputs, outputs);
    }

    private OnnxStep MatMul()
    {
        Inputs(2, 2);
        var (left, right) = (operand(node.Input[0]), operand(node.Input[1]));
        if (!left.IsConstant && right is { IsConstant: true, Dims.Length: 2 })
            return Linear(WideRow(0), right);
        // A constant has no rows: its dimensions are aligned with those behind the rows'.
        var rank = Math.Max(left.IsConstant ? 0 : left.Dims.Length, right.IsConstant ? 0 : right.Dims.Length);
        if (rank < 2 || !Fits(left) || !Fits(right) || left.Dims[^1] != right.Dims[^2])
            throw new FormatException($"has [{string.Join(", ", left.Dims)}] and [{string.Join(", ", right.Dims)}], expected matrices whose inner sizes are the same, rows first");
        var (before, behind) = (Trimmed(left, rank)[..^2], Trimmed(right, rank)[..^2]);
        var places = OnnxShape.Join(before, behind) ?? throw new FormatException($"has [{string.Join(", ", left.Dims)}] beside [{string.Join(", ", right.Dims)}]");
        var result = Output([.. places, left.Dims[^2], right.Dims[^1]]);
        return new MatrixProductStep(left, Places(before, places, left.Dims[^2] * left.Dims[^1]), right, Places(behind, places, right.Dims[^2] * right.Dims[^1]), result);

        bool Fits(OnnxOperand value) => value.Dims.Length >= 2 && value.RowAxis == 0 && (value.IsConstant || value.Dims.Length == rank);

        static int[] Places(int[] own, int[] all, int size)
        {
            var count = all.Aggregate(1, (a, b) => a * b);
            return OnnxShape.Map(own, all) is { } map ? Array.ConvertAll(map, m => m * size)
                : [.. Enumerable.Range(0, count).Select(i => own.Aggregate(1, (a, b) => a * b) == 1 ? 0 : i * size)];
        }
    }

    // The last dimension times a constant matrix.
    private LinearStep Linear(OnnxOperand input, OnnxOperand matrix)
    {
        var (inputs, outputs) = (matrix.Dims[0], matrix.Dims[1]);
        if (inputs != input.Dims[^1])
            throw new FormatException($"has a matrix [{string.Join(", ", matrix.Dims)}], expected [{input.Dims[^1]}, outputs]");
        var transposed = new float[matrix.Length];
        MatrixMatrix.Transpose(matrix.Data, transposed, outputs);
        return new LinearStep(input.Slot, Output([.. input.Dims[..^1], outputs]).Slot, transposed, null, inputs, outputs);
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
        var result = Output([weights.Dims[0], .. window.Sizes(input.Dims[1..])]);
        var bias = node.Input.Count > 2 ? Constant(2, weights.Dims[0]).Data : null;
        return MatrixConvStep.Of(input, result, window, weights, bias, groups) ?? new ConvStep(input, result, window, weights, bias, groups);
    }

    private OnnxStep ConvTranspose()
    {
        Inputs(2, 3);
        var input = Row(0);
        var rank = input.Dims.Length - 1;
        var weights = Constant(1, null);
        var groups = attributes.Integer("group", 1);
        if (rank is not (1 or 2) || weights.Dims.Length != rank + 2 || groups < 1 || input.Dims[0] % groups != 0 || weights.Dims[0] != input.Dims[0])
            throw new FormatException($"has weights [{string.Join(", ", weights.Dims)}] in {groups} groups for [N, {string.Join(", ", input.Dims)}]");
        var window = Window(input, attributes.List("kernel_shape", rank, weights.Dims[2..]));
        if (!window.Kernel.AsSpan().SequenceEqual(weights.Dims.AsSpan(2)))
            throw new FormatException($"has a kernel [{string.Join(", ", window.Kernel)}] and weights [{string.Join(", ", weights.Dims)}]");
        var channels = checked(weights.Dims[1] * groups);
        var result = Output([channels, .. window.Spread(input.Dims[1..], attributes.List("output_padding", rank, new int[rank]))]);
        return new ConvStep(input, result, window, weights, node.Input.Count > 2 ? Constant(2, channels).Data : null, groups, isTransposed: true);
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
        return new PoolStep(input, Output([input.Dims[0], .. window.Sizes(input.Dims[1..])]), window, isMax, counts);
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
        return new MeanStep(input.Slot, Output([input.Dims[0], .. Enumerable.Repeat(1, input.Dims.Length - 1)]).Slot, input.Length / input.Dims[0]);
    }

    private OnnxStep BatchNorm()
    {
        Inputs(5, 5);
        var input = WideRow(0);
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

        return new ScaleStep(input.Slot, Output(input.Dims).Slot, scale, shift, input.Length / channels);
    }

    private OnnxStep LayerNorm()
    {
        Inputs(2, 3);
        var input = WideRow(0);
        var axis = attributes.Integer("axis", -1);
        var first = axis < 0 ? input.Dims.Length + axis : axis - 1;
        if (first < 0 || first >= input.Dims.Length)
            throw new FormatException($"is over axis {axis} and those behind it, expected some of a row's");
        var dims = input.Dims[first..];
        return new LayerNormStep(input.Slot, Output(input.Dims).Slot, Constant(1, dims).Data!, node.Input.Count > 2 ? Constant(2, dims).Data : null, attributes.Number("epsilon", 1e-5f));
    }

    // Each channel by the mean and the deviation of its own places.
    private OnnxStep InstanceNorm()
    {
        Inputs(3, 3);
        var input = WideRow(0);
        var channels = input.Dims[0];
        if (input.Dims.Length < 2)
            throw new FormatException($"takes [N, {string.Join(", ", input.Dims)}], expected places behind the channels");
        return new InstanceNormStep(input.Slot, Output(input.Dims).Slot, Constant(1, channels).Data!, Constant(2, channels).Data!, input.Length / channels, attributes.Number("epsilon", 1e-5f));
    }

    private OnnxStep Recurrent(RecurrentKind kind)
    {
        Inputs(3, 4);
        var input = Any(0);
        var hidden = attributes.Integer("hidden_size", 0);
        var direction = attributes.Text("direction", "forward");
        var count = direction == "bidirectional" ? 2 : direction is "forward" or "reverse" ? 1 : throw new FormatException($"goes in a direction that is not known");
        if (input.IsConstant || input.RowAxis != 1 || input.Dims is not [_, var inputs] || hidden is < 1 or > MaxHidden)
            throw new FormatException($"takes [{string.Join(", ", input.Dims)}] to {hidden} hidden numbers, expected [steps, N, inputs]");
        if (kind == RecurrentKind.Gru && attributes.Integer("linear_before_reset", 0) != 1)
            throw new FormatException("resets before its product, expected linear_before_reset to be 1");
        var activations = kind == RecurrentKind.Elman ? attributes.Texts("activations", count) : null;
        if (activations is not null && activations.Any(a => a is not ("Tanh" or "Relu") || a != activations[0]))
            throw new FormatException("has activations that are not known, expected Tanh or Relu");
        var gates = RecurrentStep.Gates(kind, hidden);
        var (weights, recurrent) = (Constant(1, count, gates, inputs).Data!, Constant(2, count, gates, hidden).Data!);
        var bias = node.Input.Count > 3 ? Constant(3, count, 2 * gates).Data! : new float[count * 2 * gates];
        var directions = Enumerable.Range(0, count).Select(d => new RecurrentWeights(
            weights[(d * gates * inputs)..((d + 1) * gates * inputs)], recurrent[(d * gates * hidden)..((d + 1) * gates * hidden)],
            bias[(d * 2 * gates)..(((d * 2) + 1) * gates)], bias[(((d * 2) + 1) * gates)..((d + 1) * 2 * gates)], direction == "reverse" || d == 1)).ToArray();
        scratch(RecurrentStep.Scratch(input.Dims[0], gates, hidden));
        return new RecurrentStep(kind, input, Output([input.Dims[0], count, hidden], rowAxis: 2), directions, hidden, activations?[0] == "Relu");
    }
}
