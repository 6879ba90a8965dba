using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>TorchSharp's layers that are one or a few operators of ONNX. docs/own-modules.md lists them.</summary>
internal static class KnownLayers
{
    /// <summary>Writes a layer's operators; null: it maps to none.</summary>
    public static Func<LayerCall, string>? Of(nn.Module layer) => layer switch
    {
        Linear linear => call => Write(linear, call),
        Conv1d or Conv2d when layer is Convolution { transposed: false } convolution => call => Write(convolution, call),
        ConvTranspose1d or ConvTranspose2d when layer is Convolution { transposed: true } convolution => call => WriteTransposed(convolution, call),
        TorchSharp.Modules.BatchNorm { track_running_stats: true } norm => call => Write(norm, call),
        LayerNorm norm => call => Write(norm, call),
        MaxPool1d pool => call => Pool(call, "MaxPool", [pool.kernel_size], List(pool.stride), List(pool.padding), List(pool.dilation), pool.ceil_mode),
        MaxPool2d pool => call => Pool(call, "MaxPool", pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode),
        AvgPool1d pool => call => Pool(call, "AveragePool", [pool.kernel_size], List(pool.stride), List(pool.padding), null, pool.ceil_mode, pool.count_include_pad),
        AvgPool2d { divisor_override: null } pool => call => Pool(call, "AveragePool", pool.kernel_size, pool.stride, pool.padding, null, pool.ceil_mode, pool.count_include_pad),
        AdaptiveAvgPool1d or AdaptiveAvgPool2d => AdaptivePool,
        Softmax softmax => call => Softmax(call, "Softmax", softmax.dim),
        LogSoftmax softmax => call => Softmax(call, "LogSoftmax", softmax.dim),
        // Of a model that is not being trained.
        Dropout or Dropout1d or Dropout2d or Dropout3d or AlphaDropout or FeatureAlphaDropout or Identity => call => call.Writer.Node("Identity", [call.Input]),
        Flatten or Unflatten => call => call.Writer.Reshape(call.Input, call.To.RowShape),
        Embedding embedding => call => Write(embedding, call),
        GroupNorm norm => call => Write(norm, call),
        InstanceNorm { track_running_stats: false } norm => call => Write(norm, call),
        PadBase pad when Paddings.ModeOf(pad) is { } mode => call => Paddings.Pad(call.Writer, call.Input, call.From, pad.padding, mode, pad.value),
        _ => Activations.Of(layer) is { } write ? call => write(call.Writer, call.Input) : null,
    };

    /// <summary>How a layer's output lies in the graph.</summary>
    /// <exception cref="NotTracedException">It would mix rows, or takes them as the first dimension alone.</exception>
    public static RowLayout Layout(nn.Module layer, RowLayout input, long[] output)
    {
        switch (layer)
        {
            case Embedding:
                return input with { Shape = output };
            case Linear when input.FromRight > 1:
            case LayerNorm norm when input.FromRight > norm.normalized_shape.Length:
            case TorchSharp.Modules.Softmax or LogSoftmax or PadBase:
            case Dropout or Dropout1d or Dropout2d or Dropout3d or AlphaDropout or FeatureAlphaDropout or Identity:
            case not null when Activations.Of(layer) is not null:
                return input.With(output);
            default:
                return input is { RowAxis: 0, Fold: 1 } ? new RowLayout(output, 0)
                    : throw new NotTracedException($"takes [{string.Join(", ", input.Shape)}], whose first dimension is not that of the rows alone, expected it to be");
        }
    }

    /// <summary>Whether what a layer puts out is of the type that it is given: ids and truths too, which ONNX's operators for it do not take.</summary>
    public static bool IsElementwise(nn.Module layer) => layer is PadBase || Activations.Of(layer) is not null;

    /// <summary>Whether a layer has others in it and computes nothing itself.</summary>
    public static bool IsContainer(nn.Module layer) => layer is Sequential || layer.GetType().Name.StartsWith("Module", StringComparison.Ordinal) || layer.GetType().Name.StartsWith("Sequential", StringComparison.Ordinal);

    private static string Write(Linear linear, LayerCall call)
    {
        var writer = call.Writer;
        if (call.Rank == 2)
            return writer.Node("Gemm", linear.bias is { } bias ? [call.Input, writer.Tensor(linear.weight!), writer.Tensor(bias)] : [call.Input, writer.Tensor(linear.weight!)], OnnxGraph.Integer("transB", 1));
        var product = writer.Node("MatMul", [call.Input, writer.Constant(writer.Current(linear.weight!).t(), "transposed")]);
        return linear.bias is { } shift ? writer.Node("Add", [product, writer.Tensor(shift)]) : product;
    }

    private static string Write(Convolution convolution, LayerCall call)
    {
        var writer = call.Writer;
        var rank = convolution.kernel_size.Length;
        var (before, behind) = (new long[rank], new long[rank]);
        for (var d = 0; d < rank; d++)
        {
            var total = convolution.dilation[d] * (convolution.kernel_size[d] - 1);
            (before[d], behind[d]) = convolution.padding is { } padding ? (padding[d], padding[d])
                : convolution.padding_type == Padding.Same ? (total / 2, total - (total / 2)) : (0, 0);
        }

        var input = call.Input;
        if (convolution.padding_mode is not (PaddingModes.Zeros or PaddingModes.Constant))
        {
            for (var d = 0; d < rank; d++)
                input = Paddings.Again(writer, input, convolution.padding_mode, d + 2, call.From.RowShape[d + 1], before[d], behind[d]);
            (before, behind) = (new long[rank], new long[rank]);
        }

        return writer.Node("Conv", Inputs(convolution, writer, input), Attributes(convolution, before, behind));
    }

    // What a convolution sums up it spreads.
    private static string WriteTransposed(Convolution convolution, LayerCall call)
    {
        var padding = convolution.padding ?? new long[convolution.kernel_size.Length];
        // TorchSharp 0.107 does not add the places behind that it says: what it makes tells. A layer of a module that writes itself is not asked for its sizes.
        var more = call.From.Rank != padding.Length + 2 ? convolution.output_padding : [.. padding.Select((p, d) =>
            call.To.Behind[d + 1] - ((call.From.Behind[d + 1] - 1) * convolution.stride[d]) - (convolution.dilation[d] * (convolution.kernel_size[d] - 1)) - 1 + (2 * p))];
        return call.Writer.Node("ConvTranspose", Inputs(convolution, call.Writer, call.Input), [.. Attributes(convolution, padding, padding), OnnxGraph.List("output_padding", more)]);
    }

    private static string[] Inputs(Convolution convolution, TraceWriter writer, string input) =>
        convolution.bias is { } bias ? [input, writer.Tensor(convolution.weight), writer.Tensor(bias)] : [input, writer.Tensor(convolution.weight)];

    private static AttributeProto[] Attributes(Convolution convolution, long[] before, long[] behind) =>
    [
        OnnxGraph.List("kernel_shape", convolution.kernel_size), OnnxGraph.List("strides", convolution.stride), OnnxGraph.List("pads", [.. before, .. behind]),
        OnnxGraph.List("dilations", convolution.dilation), OnnxGraph.Integer("group", convolution.groups),
    ];

    private static string Write(TorchSharp.Modules.BatchNorm norm, LayerCall call)
    {
        var writer = call.Writer;
        var size = norm.running_mean!.shape[0];
        return writer.Node("BatchNormalization",
            [call.Input, norm.weight is { } weight ? writer.Tensor(weight) : writer.Constant(1, size), norm.bias is { } bias ? writer.Tensor(bias) : writer.Constant(0, size), writer.Tensor(norm.running_mean), writer.Tensor(norm.running_var!)],
            OnnxGraph.Number("epsilon", norm.eps));
    }

    private static string Write(LayerNorm norm, LayerCall call)
    {
        var writer = call.Writer;
        var gain = norm.weight is { } weight ? writer.Tensor(weight) : writer.Constant(1, norm.normalized_shape);
        return writer.Node("LayerNormalization", norm.bias is { } bias ? [call.Input, gain, writer.Tensor(bias)] : [call.Input, gain],
            OnnxGraph.Integer("axis", -norm.normalized_shape.Length), OnnxGraph.Number("epsilon", norm.eps));
    }

    /// <summary>Means over as many windows as are asked for, where they divide what there is.</summary>
    public static string AdaptivePool(LayerCall call)
    {
        var (from, to) = (call.From.Behind[1..], call.To.Behind[1..]);
        if (to.All(size => size <= 1)) // a layer of a module that writes itself is not asked for its sizes
            return call.Writer.Node("GlobalAveragePool", [call.Input]);
        return from.Zip(to).All(s => s.First % s.Second == 0)
            ? Pool(call, "AveragePool", [.. from.Zip(to, (a, b) => a / b)], null, null, null, isCeiling: false, countsPadding: false)
            : throw new NotSupportedException($"makes [{string.Join(", ", to)}] of [{string.Join(", ", from)}], expected sizes that divide these");
    }

    // Where one number is given it is for all dimensions, and without a stride windows do not overlap.
    public static string Pool(LayerCall call, string op, long[] kernel, long[]? stride, long[]? padding, long[]? dilation, bool isCeiling, bool? countsPadding = null)
    {
        var rank = call.Rank - 2;
        var pads = All(padding, 0);
        List<AttributeProto> attributes =
        [
            OnnxGraph.List("kernel_shape", All(kernel, 1)), OnnxGraph.List("strides", stride is { Length: > 0 } ? All(stride, 1) : All(kernel, 1)), OnnxGraph.List("pads", [.. pads, .. pads]),
            OnnxGraph.List("dilations", All(dilation, 1)), OnnxGraph.Integer("ceil_mode", isCeiling ? 1 : 0),
        ];
        if (countsPadding is { } counts)
            attributes.Add(OnnxGraph.Integer("count_include_pad", counts ? 1 : 0));
        return call.Writer.Node(op, [call.Input], attributes);

        long[] All(long[]? values, long otherwise) => values is not { Length: > 0 } ? [.. Enumerable.Repeat(otherwise, rank)] : values.Length == rank ? values : [.. Enumerable.Repeat(values[0], rank)];
    }

    private static string Softmax(LayerCall call, string op, long dimension) => TracedFunctions.Softmax(call.Writer, call.Input, op, call.From.Axis(dimension), call.Rank);

    // An id that the table does not have is the nearest that it has: a row from outside must not break scoring.
    private static string Write(Embedding embedding, LayerCall call)
    {
        var writer = call.Writer;
        var table = embedding.named_parameters().First().parameter;
        var floats = writer.Cast(call.Input, ScalarType.Float32);
        var bounded = writer.Node("Clip", [floats, writer.Constant(0), writer.Constant(table.shape[0] - 1)]);
        return writer.Node("Gather", [writer.Tensor(table), writer.Cast(bounded, ScalarType.Int64)]);
    }

    // Groups of channels are channels of another shape.
    private static string Write(GroupNorm norm, LayerCall call)
    {
        var (writer, shape) = (call.Writer, call.From.RowShape);
        var groups = writer.Reshape(call.Input, [norm.num_groups, RowLayout.Product(shape) / norm.num_groups]);
        var normal = writer.Reshape(writer.Node("InstanceNormalization", [groups, writer.Constant(1, norm.num_groups), writer.Constant(0, norm.num_groups)], OnnxGraph.Number("epsilon", norm.eps)), shape);
        if (!norm.affine)
            return normal;
        return writer.Node("Add", [writer.Node("Mul", [normal, OfChannels(norm.weight)]), OfChannels(norm.bias!)]);

        string OfChannels(Tensor numbers) => writer.Constant(writer.Current(numbers).view([shape[0], .. shape.Skip(1).Select(_ => 1L)]));
    }

    private static string Write(InstanceNorm norm, LayerCall call)
    {
        var (writer, channels) = (call.Writer, call.From.RowShape[0]);
        return writer.Node("InstanceNormalization", [call.Input, norm.weight is { } weight ? writer.Tensor(weight) : writer.Constant(1, channels), norm.bias is { } bias ? writer.Tensor(bias) : writer.Constant(0, channels)],
            OnnxGraph.Number("epsilon", norm.eps));
    }

    private static long[]? List(long? value) => value is { } one ? [one] : null;
}
