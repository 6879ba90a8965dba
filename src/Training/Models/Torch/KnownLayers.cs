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
        Conv1d or Conv2d when layer is Convolution { padding_mode: PaddingModes.Zeros, transposed: false } convolution => call => Write(convolution, call),
        TorchSharp.Modules.BatchNorm { track_running_stats: true } norm => call => Write(norm, call),
        LayerNorm norm => call => Write(norm, call),
        MaxPool1d pool => call => Pool(call, "MaxPool", [pool.kernel_size], List(pool.stride), List(pool.padding), List(pool.dilation), pool.ceil_mode),
        MaxPool2d pool => call => Pool(call, "MaxPool", pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode),
        AvgPool1d pool => call => Pool(call, "AveragePool", [pool.kernel_size], List(pool.stride), List(pool.padding), null, pool.ceil_mode, pool.count_include_pad),
        AvgPool2d { divisor_override: null } pool => call => Pool(call, "AveragePool", pool.kernel_size, pool.stride, pool.padding, null, pool.ceil_mode, pool.count_include_pad),
        AdaptiveAvgPool1d { output_size: 1 } or AdaptiveAvgPool2d { output_size: [1] or [1, 1] } => call => call.Writer.Node("GlobalAveragePool", [call.Input]),
        ReLU => Unary("Relu"),
        ReLU6 => call => call.Writer.Node("Clip", [call.Input, call.Writer.Constant(0), call.Writer.Constant(6)]),
        GELU gelu => Unary("Gelu", OnnxGraph.Text("approximate", $"{gelu.approximate}")),
        SiLU => call => call.Writer.Node("Mul", [call.Input, call.Writer.Node("Sigmoid", [call.Input])]),
        Mish => call => call.Writer.Node("Mul", [call.Input, call.Writer.Node("Tanh", [call.Writer.Node("Softplus", [call.Input])])]),
        Sigmoid => Unary("Sigmoid"),
        Tanh => Unary("Tanh"),
        LeakyReLU leaky => Unary("LeakyRelu", OnnxGraph.Number("alpha", leaky.negative_slope)),
        ELU elu => Unary("Elu", OnnxGraph.Number("alpha", elu.alpha)),
        SELU => Unary("Selu"),
        Softplus { beta: 1 } => Unary("Softplus"),
        Softsign => Unary("Softsign"),
        Hardswish => Unary("HardSwish"),
        Hardsigmoid => Unary("HardSigmoid", OnnxGraph.Number("alpha", 1.0 / 6), OnnxGraph.Number("beta", 0.5)),
        Softmax softmax => call => Softmax(call, "Softmax", softmax.dim),
        LogSoftmax softmax => call => Softmax(call, "LogSoftmax", softmax.dim),
        // Of a model that is not being trained.
        Dropout or Dropout1d or Dropout2d or Dropout3d or AlphaDropout or FeatureAlphaDropout or Identity => Unary("Identity"),
        Flatten or Unflatten => call => call.Writer.Reshape(call.Input, call.OutputShape[1..]),
        _ => null,
    };

    /// <summary>Whether a layer has others in it and computes nothing itself.</summary>
    public static bool IsContainer(nn.Module layer) => layer is Sequential || layer.GetType().Name.StartsWith("Module", StringComparison.Ordinal) || layer.GetType().Name.StartsWith("Sequential", StringComparison.Ordinal);

    private static Func<LayerCall, string> Unary(string op, params AttributeProto[] attributes) => call => call.Writer.Node(op, [call.Input], attributes);

    private static string Write(Linear linear, LayerCall call)
    {
        var writer = call.Writer;
        if (call.InputShape.Length == 2)
            return writer.Node("Gemm", linear.bias is { } bias ? [call.Input, writer.Tensor(linear.weight!), writer.Tensor(bias)] : [call.Input, writer.Tensor(linear.weight!)], OnnxGraph.Integer("transB", 1));
        var product = writer.Node("MatMul", [call.Input, writer.Transposed(linear.weight!)]);
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

        string[] inputs = convolution.bias is { } bias ? [call.Input, writer.Tensor(convolution.weight), writer.Tensor(bias)] : [call.Input, writer.Tensor(convolution.weight)];
        return writer.Node("Conv", inputs,
            OnnxGraph.List("kernel_shape", convolution.kernel_size), OnnxGraph.List("strides", convolution.stride), OnnxGraph.List("pads", [.. before, .. behind]),
            OnnxGraph.List("dilations", convolution.dilation), OnnxGraph.Integer("group", convolution.groups));
    }

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

    // Where one number is given it is for all dimensions, and without a stride windows do not overlap.
    private static string Pool(LayerCall call, string op, long[] kernel, long[]? stride, long[]? padding, long[]? dilation, bool isCeiling, bool? countsPadding = null)
    {
        var rank = call.InputShape.Length - 2;
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

    private static string Softmax(LayerCall call, string op, long dimension) => dimension == -1 || dimension == call.InputShape.Length - 1
        ? call.Writer.Node(op, [call.Input], OnnxGraph.Integer("axis", -1))
        : throw new NotSupportedException($"is over dimension {dimension}, expected the last");

    private static long[]? List(long? value) => value is { } one ? [one] : null;
}
