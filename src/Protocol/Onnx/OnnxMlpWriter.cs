namespace MLDistributed.Protocol.Onnx;

/// <summary>Writes a trained multi-layer perceptron as an ONNX model (opset 20).</summary>
/// <remarks>
/// Input "features" [N, input size]. Outputs, all [N, k]: "score" (softmax probabilities, the logit, or the value) and, for
/// binary classification, "probability". Probabilities are never 0 or, of binary classification, 1: a single wrong row would
/// make the log-loss infinite. Missing features (NaN) count as the mean, of a network for sparse features as 0.
/// </remarks>
public static class OnnxMlpWriter
{
    /// <summary>The name of the graph's input.</summary>
    public const string Features = "features";

    /// <summary>The name of the output that every task has.</summary>
    public const string Score = "score";

    /// <summary>The name of the sigmoid of the score, binary classification's second output.</summary>
    public const string Probability = "probability";

    /// <summary>The constant that is taken from each feature; none when features go in as they are.</summary>
    public const string FeatureMean = "features.mean";

    /// <summary>The constant that each feature is multiplied by then.</summary>
    public const string FeatureScale = "features.scale";

    /// <summary>Of features that go in value by value: the constants that are taken from them for each of their steps.</summary>
    public const string StepStart = "steps.start";

    /// <summary>The constants that these differences are multiplied by, before they are clipped to 0 and 1.</summary>
    public const string StepScale = "steps.scale";

    /// <summary>The constant below which no class's probability goes; none in models of release 0.1.</summary>
    public const string ScoreLeast = "score.least";

    /// <summary>Regression: the constant that the network's output is multiplied by; none when labels went in as they are.</summary>
    public const string LabelUnit = "label.unit";

    /// <summary>Regression: the constant that is added then.</summary>
    public const string LabelMean = "label.mean";

    /// <summary>The epsilon of both normalisations, the same as in training.</summary>
    public const float Epsilon = 1e-5f;

    /// <summary>The least probability of either answer in binary classification.</summary>
    public const float LeastProbability = 1e-7f;

    /// <summary>The least probability of a class in multiclass, where ML.NET's evaluator ends too: so small that the sum stays 1.</summary>
    public const float LeastClassProbability = 1e-15f;

    internal const string ProbabilityLeast = "probability.least";

    /// <summary>Makes the model.</summary>
    /// <param name="spec">The job that trained it: module, task, feature and label scaling.</param>
    /// <param name="tensors">
    /// The parameters by their names in the module: "layers.{i}.weight" (outputs x inputs, row-major), "layers.{i}.bias" for each
    /// linear layer (of sparse features the first inputs x outputs), the output layer last, and for each normalised hidden layer "norms.{i}.weight", "norms.{i}.bias" and,
    /// for batch normalisation, "norms.{i}.running_mean" and "norms.{i}.running_var".
    /// </param>
    /// <exception cref="ArgumentException">A tensor is missing or has another size than the module asks for.</exception>
    public static ModelProto Write(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return Build(spec, new OnnxGraph(tensors), hasLeastProbabilities: true);
    }

    /// <summary>The model without its numbers: what <see cref="OnnxMlpReader"/> compares with.</summary>
    /// <param name="spec">The job that trains it.</param>
    /// <param name="hasLeastProbabilities">Not in models of release 0.1, which clipped none.</param>
    internal static ModelProto Skeleton(JobSpec spec, bool hasLeastProbabilities) => Build(spec, new OnnxGraph(null), hasLeastProbabilities);

    private static ModelProto Build(JobSpec spec, OnnxGraph graph, bool hasLeastProbabilities)
    {
        var mlp = spec.Module?.Mlp ?? throw new ArgumentException("The job has no multi-layer perceptron, expected Module.Mlp.", nameof(spec));
        return OnnxFrame.Build(spec, graph, "mlp", (input, output) => Layers(graph, mlp, input, output), hasLeastProbabilities);
    }

    private static string Layers(OnnxGraph graph, MlpSpec mlp, string current, string? output)
    {
        var width = checked((int)mlp.EncodedSize);
        for (var i = 0; i < mlp.HiddenSizes.Count; i++)
        {
            var hidden = mlp.HiddenSizes[i];
            current = Linear(graph, current, i, width, hidden, isTransposed: i == 0 && mlp.Sparse is not null);
            current = Normalize(graph, mlp.Normalization, current, i, hidden);
            current = mlp.Activation == Activation.Gelu
                ? graph.Node("Gelu", [current], attributes: OnnxGraph.Text("approximate", "none"))
                : graph.Node("Relu", [current]);
            width = hidden;
        }

        return Linear(graph, current, mlp.HiddenSizes.Count, width, mlp.OutputSize, mlp.HiddenSizes.Count == 0 && mlp.Sparse is not null, output);
    }

    private static string Linear(OnnxGraph graph, string input, int layer, int inputs, int outputs, bool isTransposed, string? name = null) => graph.Node("Gemm",
        [input, isTransposed ? graph.Parameter($"layers.{layer}.weight", inputs, outputs) : graph.Parameter($"layers.{layer}.weight", outputs, inputs), graph.Parameter($"layers.{layer}.bias", outputs)],
        name, OnnxGraph.Integer("transB", isTransposed ? 0 : 1));

    private static string Normalize(OnnxGraph graph, LayerNormalization kind, string input, int layer, int size)
    {
        if (kind == LayerNormalization.None)
            return input;
        var weight = graph.Parameter($"norms.{layer}.weight", size);
        var bias = graph.Parameter($"norms.{layer}.bias", size);
        return kind == LayerNormalization.Layer
            ? graph.Node("LayerNormalization", [input, weight, bias], null, OnnxGraph.Integer("axis", -1), OnnxGraph.Number("epsilon", Epsilon))
            : graph.Node("BatchNormalization",
                [input, weight, bias, graph.Parameter($"norms.{layer}.running_mean", size), graph.Parameter($"norms.{layer}.running_var", size)],
                null, OnnxGraph.Number("epsilon", Epsilon));
    }
}
