namespace MLDistributed.Protocol.Onnx;

/// <summary>A value of a row, or a constant: its shape, less the rows, and where it is.</summary>
/// <param name="Dims">Its dimensions; of a row's value without the first, which counts rows.</param>
/// <param name="Slot">Its number among a row's values; -1: a constant.</param>
/// <param name="Data">A constant's numbers.</param>
internal sealed record OnnxOperand(int[] Dims, int Slot, float[]? Data = null)
{
    public bool IsConstant => Slot < 0;

    /// <summary>Where among the dimensions rows are counted: a recurrence wants steps before them. Numbers of a row lie the same either way.</summary>
    public int RowAxis { get; init; }

    public int Length { get; } = Dims.Aggregate(1, (a, b) => checked(a * b));

    public float[] In(float[][] values) => Data ?? values[Slot];
}

/// <summary>How operands of different shapes are read side by side (numpy's broadcasting).</summary>
internal static class OnnxShape
{
    /// <summary>The shape of two together; null: they do not fit.</summary>
    public static int[]? Join(int[] left, int[] right)
    {
        var joined = new int[Math.Max(left.Length, right.Length)];
        for (var i = 1; i <= joined.Length; i++)
        {
            var (a, b) = (i <= left.Length ? left[^i] : 1, i <= right.Length ? right[^i] : 1);
            if (a != b && a != 1 && b != 1)
                return null;
            joined[^i] = Math.Max(a, b);
        }

        return joined;
    }

    /// <summary>How many elements of a shape meet as many of an operand side by side, again and again from its beginning; 0: in no such order.</summary>
    public static int Run(int[] operand, int[] shape)
    {
        var length = shape.Aggregate(1, (a, b) => a * b);
        var own = operand.SkipWhile(d => d == 1).ToArray();
        return own.Length == 0 ? length : shape.AsSpan(shape.Length - own.Length).SequenceEqual(own) ? own.Aggregate(1, (a, b) => a * b) : 0;
    }

    /// <summary>For each element of a shape, which of an operand's it meets; null: the same one, or, of a single number, always that.</summary>
    public static int[]? Map(int[] operand, int[] shape)
    {
        var length = shape.Aggregate(1, (a, b) => a * b);
        var own = operand.Aggregate(1, (a, b) => a * b);
        if (own == length || own == 1)
            return null;
        var map = new int[length];
        for (var i = 0; i < length; i++)
        {
            var (rest, stride, index) = (i, 1, 0);
            for (var d = 1; d <= shape.Length; d++)
            {
                var at = rest % shape[^d];
                rest /= shape[^d];
                if (d > operand.Length)
                    continue;
                index += operand[^d] == 1 ? 0 : at * stride;
                stride *= operand[^d];
            }

            map[i] = index;
        }

        return map;
    }

    /// <summary>Of each dimension how far apart its elements lie, the last one's side by side.</summary>
    public static int[] Strides(int[] dims)
    {
        var strides = new int[dims.Length];
        for (var (d, stride) = (dims.Length - 1, 1); d >= 0; stride *= dims[d], d--)
            strides[d] = stride;
        return strides;
    }

    /// <summary>For each element of a shape where it lies, from a start, with other strides than its own.</summary>
    public static int[] Offsets(int[] shape, int[] strides, int start = 0)
    {
        var offsets = new int[shape.Aggregate(1, (a, b) => checked(a * b))];
        for (var i = 0; i < offsets.Length; i++)
        {
            offsets[i] = start;
            for (var (d, rest) = (shape.Length - 1, i); d >= 0; rest /= shape[d], d--)
                offsets[i] += rest % shape[d] * strides[d];
        }

        return offsets;
    }

    /// <summary>What is at a place of a dimension that may be outside of it, in Pad's modes; -1: nothing.</summary>
    /// <exception cref="FormatException">The mode is not known, or the dimension has too few.</exception>
    public static int Around(int place, int size, string mode) => place >= 0 && place < size ? place : mode switch
    {
        "constant" => -1,
        "edge" => Math.Clamp(place, 0, size - 1),
        "reflect" when place > -size && place < (2 * size) - 1 => size - 1 - Math.Abs(size - 1 - Math.Abs(place)),
        "wrap" when place >= -size && place < 2 * size => (place + size) % size,
        _ => throw new FormatException($"pads {size} in the mode \"{VisibleText.Shortened(mode)}\" as far as place {place}, expected constant, edge, reflect or wrap, and no more than there is"),
    };

    /// <summary>Where each element lies that is at some places of each dimension; -1: one of its places is.</summary>
    public static int[] Map(int[][] places, int[] strides)
    {
        int[] map = [0];
        foreach (var (d, along) in places.Index())
            map = [.. map.SelectMany(at => along.Select(p => at < 0 || p < 0 ? -1 : at + (p * strides[d])))];
        return map;
    }
}
