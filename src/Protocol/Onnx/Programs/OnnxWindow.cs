namespace MLDistributed.Protocol.Onnx;

/// <summary>How a kernel walks over one or two dimensions; one is taken as two, the first of size 1.</summary>
internal sealed class OnnxWindow
{
    private const int MaxSize = 1 << 20;

    /// <exception cref="FormatException">It does not fit.</exception>
    public OnnxWindow(int[] kernel, int[] strides, int[] pads, int[] dilations, int[] input)
    {
        var rank = input.Length;
        if (kernel.Length != rank || kernel.Concat(strides).Concat(dilations).Any(n => n is < 1 or > MaxSize) || pads.Any(n => n is < 0 or > MaxSize))
            throw new FormatException($"has a kernel [{string.Join(", ", kernel)}] with strides, pads or dilations that do not fit [N, C, {string.Join(", ", input)}]");
        (Kernel, Strides, Dilations, Pads) = (kernel, strides, dilations, pads);
    }

    public int[] Kernel { get; }

    public int[] Strides { get; }

    public int[] Dilations { get; }

    /// <summary>Before each dimension, then behind each.</summary>
    public int[] Pads { get; }

    /// <summary>Whether a last, partial place counts.</summary>
    public bool IsCeiling { get; set; }

    public (int Height, int Width) Kernel2 => Two(Kernel);

    public (int Height, int Width) Strides2 => Two(Strides);

    public (int Height, int Width) Dilations2 => Two(Dilations);

    public (int Height, int Width) Before2 => Kernel.Length == 1 ? (0, Pads[0]) : (Pads[0], Pads[1]);

    public (int Height, int Width) Behind2 => Kernel.Length == 1 ? (0, Pads[1]) : (Pads[2], Pads[3]);

    /// <summary>The places that it takes.</summary>
    public int[] Sizes(int[] input)
    {
        var rank = input.Length;
        var sizes = new int[rank];
        for (var d = 0; d < rank; d++)
        {
            var room = (long)input[d] + Pads[d] + Pads[rank + d] - (((long)Kernel[d] - 1) * Dilations[d]) - 1;
            if (room < 0)
                throw new FormatException($"has a kernel [{string.Join(", ", Kernel)}] that is larger than [N, C, {string.Join(", ", input)}]");
            var places = (IsCeiling ? room + Strides[d] - 1 : room) / Strides[d] + 1;
            // A last place that begins in the padding behind has nothing to look at.
            if (IsCeiling && (places - 1) * Strides[d] >= (long)input[d] + Pads[d])
                places--;
            sizes[d] = checked((int)places);
        }

        return sizes;
    }

    /// <summary>The places of what takes this for the kernel's places on it: of a transposed convolution.</summary>
    /// <param name="input">How many of them there are.</param>
    /// <param name="more">Places behind the last, fewer than the strides or the dilations.</param>
    public int[] Spread(int[] input, int[] more)
    {
        var rank = input.Length;
        var sizes = new int[rank];
        for (var d = 0; d < rank; d++)
        {
            var size = (((long)input[d] - 1) * Strides[d]) + (((long)Kernel[d] - 1) * Dilations[d]) + 1 + more[d] - Pads[d] - Pads[rank + d];
            if (more[d] < 0 || more[d] >= Math.Max(Strides[d], Dilations[d]) || size < 1)
                throw new FormatException($"makes {size} places of {input[d]} with {more[d]} more, expected at least 1, and fewer more than the strides or dilations");
            sizes[d] = checked((int)size);
        }

        return sizes;
    }

    private static (int, int) Two(int[] values) => values.Length == 1 ? (1, values[0]) : (values[0], values[1]);
}
