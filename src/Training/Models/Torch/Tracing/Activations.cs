using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Functions of each number by itself as operators, whether a layer, a function or values tell of them.</summary>
internal static class Activations
{
    private static readonly Func<TraceWriter, string, string> s_selu = Operator("Selu");
    private static readonly Func<TraceWriter, string, string> s_softplus = Operator("Softplus");
    private static readonly Func<TraceWriter, string, string> s_softsign = Operator("Softsign");
    private static readonly Func<TraceWriter, string, string> s_hardSwish = Operator("HardSwish");
    private static readonly Func<TraceWriter, string, string> s_hardSigmoid = Operator("HardSigmoid", OnnxGraph.Number("alpha", 1.0 / 6), OnnxGraph.Number("beta", 0.5));

    // x * tanh(softplus(x))
    private static readonly Func<TraceWriter, string, string> s_mish = (w, x) => w.Node("Mul", [x, w.Node("Tanh", [w.Node("Softplus", [x])])]);

    public static Func<TraceWriter, string, string> Relu { get; } = Operator("Relu");

    public static Func<TraceWriter, string, string> Sigmoid { get; } = Operator("Sigmoid");

    public static Func<TraceWriter, string, string> Tanh { get; } = Operator("Tanh");

    // x * sigmoid(x)
    public static Func<TraceWriter, string, string> Silu { get; } = (w, x) => w.Node("Mul", [x, w.Node("Sigmoid", [x])]);

    /// <summary>That of a layer; null: it is none.</summary>
    public static Func<TraceWriter, string, string>? Of(nn.Module layer) => layer switch
    {
        ReLU => Relu,
        ReLU6 => Clip(0, 6),
        GELU gelu => Gelu($"{gelu.approximate}"),
        SiLU => Silu,
        TorchSharp.Modules.Mish => s_mish,
        TorchSharp.Modules.Sigmoid => Sigmoid,
        TorchSharp.Modules.Tanh => Tanh,
        LeakyReLU leaky => LeakyRelu(leaky.negative_slope),
        ELU elu => Elu(elu.alpha),
        SELU => s_selu,
        Softplus { beta: 1 } => s_softplus,
        Softsign => s_softsign,
        Hardswish => s_hardSwish,
        Hardsigmoid => s_hardSigmoid,
        Hardtanh bounded => Clip(bounded.min_val, bounded.max_val),
        LogSigmoid => (w, x) => w.Node("Neg", [w.Node("Softplus", [w.Node("Neg", [x])])]),
        _ => null,
    };

    /// <summary>That of a function; null: it is none.</summary>
    public static Func<TraceWriter, string, string>? Of(FunctionCall call) => call.Name switch
    {
        "relu" => Relu,
        "relu6" => Clip(0, 6),
        "gelu" => Gelu(call.Argument("approximate", "approximation")?.ToString() is "tanh" ? "tanh" : "none"),
        "silu" or "SiLU" => Silu,
        "mish" => s_mish,
        "sigmoid" or "expit" => Sigmoid,
        "tanh" => Tanh,
        "leaky_relu" => LeakyRelu(call.Number("negative_slope", "negativeSlope") ?? 0.01),
        "elu" => Elu(call.Number("alpha") ?? 1),
        "selu" => s_selu,
        "softplus" when (call.Number("beta") ?? 1) == 1 => s_softplus,
        "softsign" => s_softsign,
        "hardswish" => s_hardSwish,
        "hardsigmoid" => s_hardSigmoid,
        _ => null,
    };

    public static Func<TraceWriter, string, string> Gelu(string approximation) => Operator("Gelu", OnnxGraph.Text("approximate", approximation));

    public static Func<TraceWriter, string, string> LeakyRelu(double slope) => Operator("LeakyRelu", OnnxGraph.Number("alpha", slope));

    public static Func<TraceWriter, string, string> Elu(double alpha) => Operator("Elu", OnnxGraph.Number("alpha", alpha));

    /// <summary>Between bounds, of which one may be missing.</summary>
    public static Func<TraceWriter, string, string> Clip(double? least, double? most) => (w, x) => w.Node("Clip",
        most is { } high ? [x, least is { } low ? w.Constant((float)low) : "", w.Constant((float)high)] : [x, w.Constant((float)least!)]);

    private static Func<TraceWriter, string, string> Operator(string op, params AttributeProto[] attributes) => (w, x) => w.Node(op, [x], attributes);
}
