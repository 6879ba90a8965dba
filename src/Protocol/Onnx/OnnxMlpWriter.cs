using System.Globalization;
using System.Runtime.InteropServices;
using Google.Protobuf;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Writes a trained multi-layer perceptron as an ONNX model (opset 20).</summary>
/// <remarks>
/// Input "features" [N, input size]. Outputs, all [N, k]: "score" (softmax probabilities, the logit, or the value) and, for
/// binary classification, "probability". Probabilities are never 0 or, of binary classification, 1: a single wrong row would
/// make the log-loss infinite. Missing features (NaN) count as the mean.
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
    private const int IrVersion = 10;
    private const int Opset = 20;

    /// <summary>Makes the model.</summary>
    /// <param name="spec">The job that trained it: module, task, feature and label scaling.</param>
    /// <param name="tensors">
    /// The parameters by their names in the module: "layers.{i}.weight" (outputs x inputs, row-major), "layers.{i}.bias" for each
    /// linear layer, the output layer last, and for each normalised hidden layer "norms.{i}.weight", "norms.{i}.bias" and,
    /// for batch normalisation, "norms.{i}.running_mean" and "norms.{i}.running_var".
    /// </param>
    /// <exception cref="ArgumentException">A tensor is missing or has another size than the module asks for.</exception>
    public static ModelProto Write(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return Build(spec, new GraphBuilder(tensors), hasLeastProbabilities: true);
    }

    /// <summary>The model without its numbers: what <see cref="OnnxMlpReader"/> compares with.</summary>
    /// <param name="spec">The job that trains it.</param>
    /// <param name="hasLeastProbabilities">Not in models of release 0.1, which clipped none.</param>
    internal static ModelProto Skeleton(JobSpec spec, bool hasLeastProbabilities) => Build(spec, new GraphBuilder(null), hasLeastProbabilities);

    private static ModelProto Build(JobSpec spec, GraphBuilder graph, bool hasLeastProbabilities)
    {
        var mlp = spec.Module?.Mlp ?? throw new ArgumentException("The job has no multi-layer perceptron, expected Module.Mlp.", nameof(spec));

        var current = Inputs(graph, mlp, spec.Data?.Features);
        var width = mlp.InputSize;
        for (var i = 0; i < mlp.HiddenSizes.Count; i++)
        {
            var hidden = mlp.HiddenSizes[i];
            current = Linear(graph, current, i, width, hidden);
            current = Normalize(graph, mlp.Normalization, current, i, hidden);
            current = mlp.Activation == Activation.Gelu
                ? graph.Node("Gelu", [current], attributes: graph.Text("approximate", "none"))
                : graph.Node("Relu", [current]);
            width = hidden;
        }

        var outputs = Outputs(graph, spec, hasLeastProbabilities, Linear(graph, current, mlp.HiddenSizes.Count, width, mlp.OutputSize, spec.Task == MlTask.Binary ? Score : null));
        return new ModelProto
        {
            IrVersion = IrVersion,
            ProducerName = "MLDistributed",
            ProducerVersion = typeof(OnnxMlpWriter).Assembly.GetName().Version?.ToString(3) ?? "",
            OpsetImport = { new OperatorSetIdProto { Version = Opset } },
            MetadataProps =
            {
                new StringStringEntryProto { Key = "producer", Value = "MLDistributed" },
                new StringStringEntryProto { Key = "task", Value = spec.Task.ToString().ToLowerInvariant() },
                new StringStringEntryProto { Key = "outputs", Value = mlp.OutputSize.ToString(CultureInfo.InvariantCulture) },
            },
            Graph = graph.Build("mlp", Matrix(Features, mlp.InputSize), outputs.Select(name => Matrix(name, mlp.OutputSize))),
        };
    }

    private static string Inputs(GraphBuilder graph, MlpSpec mlp, FeatureScaling? scaling)
    {
        var missing = graph.Node("IsNaN", [Features]);
        if (scaling is null)
            return graph.Node("Where", [missing, graph.Constant("zero", [], [0f]), Features]);
        var mean = graph.Constant(FeatureMean, [mlp.InputSize], [.. scaling.Mean]);
        var filled = graph.Node("Where", [missing, mean, Features]);
        var centered = graph.Node("Sub", [filled, mean]);
        return graph.Node("Mul", [centered, graph.Constant(FeatureScale, [mlp.InputSize], [.. scaling.Scale])]);
    }

    private static string Linear(GraphBuilder graph, string input, int layer, int inputs, int outputs, string? name = null) => graph.Node("Gemm",
        [input, graph.Parameter($"layers.{layer}.weight", outputs, inputs), graph.Parameter($"layers.{layer}.bias", outputs)], name, graph.Integer("transB", 1));

    private static string Normalize(GraphBuilder graph, LayerNormalization kind, string input, int layer, int size)
    {
        if (kind == LayerNormalization.None)
            return input;
        var weight = graph.Parameter($"norms.{layer}.weight", size);
        var bias = graph.Parameter($"norms.{layer}.bias", size);
        return kind == LayerNormalization.Layer
            ? graph.Node("LayerNormalization", [input, weight, bias], null, graph.Integer("axis", -1), graph.Number("epsilon", Epsilon))
            : graph.Node("BatchNormalization",
                [input, weight, bias, graph.Parameter($"norms.{layer}.running_mean", size), graph.Parameter($"norms.{layer}.running_var", size)],
                null, graph.Number("epsilon", Epsilon));
    }

    private static string[] Outputs(GraphBuilder graph, JobSpec spec, bool hasLeastProbabilities, string raw)
    {
        switch (spec.Task)
        {
            case MlTask.Multiclass when !hasLeastProbabilities:
                return [graph.Node("Softmax", [raw], Score, graph.Integer("axis", -1))];
            case MlTask.Binary when !hasLeastProbabilities:
                return [raw, graph.Node("Sigmoid", [raw], Probability)];
            case MlTask.Multiclass:
                return [graph.Node("Clip", [graph.Node("Softmax", [raw], null, graph.Integer("axis", -1)), graph.Constant(ScoreLeast, [], [LeastClassProbability])], Score)];
            case MlTask.Binary:
                return [raw, graph.Node("Clip",
                    [graph.Node("Sigmoid", [raw]), graph.Constant(ProbabilityLeast, [], [LeastProbability]), graph.Constant("probability.most", [], [1 - LeastProbability])], Probability)];
            case MlTask.Regression when spec.Data?.Label is { } label:
                // A scale of 0 stands for a constant label: every prediction is the mean.
                var unscaled = graph.Node("Mul", [raw, graph.Constant(LabelUnit, [], [label.Scale == 0 ? 0 : 1 / label.Scale])]);
                return [graph.Node("Add", [unscaled, graph.Constant(LabelMean, [], [label.Mean])], Score)];
            case MlTask.Regression:
                return [graph.Node("Identity", [raw], Score)];
            default:
                throw new ArgumentException($"Task is \"{spec.Task}\", expected multiclass, binary or regression.", nameof(spec));
        }
    }

    private static ValueInfoProto Matrix(string name, int columns) => new()
    {
        Name = name,
        Type = new TypeProto
        {
            TensorType = new TypeProto.Types.Tensor
            {
                ElemType = (int)TensorProto.Types.DataType.Float,
                Shape = new TensorShapeProto
                {
                    Dim = { new TensorShapeProto.Types.Dimension { DimParam = "N" }, new TensorShapeProto.Types.Dimension { DimValue = columns } },
                },
            },
        },
    };

    // Without tensors it makes the graph alone.
    private sealed class GraphBuilder(IReadOnlyDictionary<string, float[]>? tensors)
    {
        private readonly GraphProto _graph = new();

        public string Node(string op, string[] inputs, string? output = null, params AttributeProto[] attributes)
        {
            var index = _graph.Node.Count;
            output ??= $"{op.ToLowerInvariant()}.{index}";
            _graph.Node.Add(new NodeProto { OpType = op, Name = $"node.{index}", Input = { inputs }, Output = { output }, Attribute = { attributes } });
            return output;
        }

        public string Parameter(string name, params int[] shape)
        {
            if (tensors is null)
                return Constant(name, shape, []);
            var size = shape.Aggregate(1, (a, b) => a * b);
            if (!tensors.TryGetValue(name, out var values) || values.Length != size)
                throw new ArgumentException($"Tensor \"{name}\" has {values?.Length.ToString(CultureInfo.InvariantCulture) ?? "no"} values, expected {size} ({string.Join(" x ", shape)}).", nameof(tensors));
            return Constant(name, shape, values);
        }

        public string Constant(string name, int[] shape, float[] values)
        {
            // ONNX stores raw data little-endian; so do all machines that .NET runs on, but for s390x.
            var bytes = MemoryMarshal.AsBytes<float>(values).ToArray();
            if (!BitConverter.IsLittleEndian)
                for (var i = 0; i < bytes.Length; i += sizeof(float))
                    bytes.AsSpan(i, sizeof(float)).Reverse();
            _graph.Initializer.Add(new TensorProto
            {
                Name = name,
                DataType = (int)TensorProto.Types.DataType.Float,
                Dims = { shape.Select(d => (long)d) },
                RawData = UnsafeByteOperations.UnsafeWrap(bytes),
            });
            return name;
        }

        public AttributeProto Integer(string name, long value) => new() { Name = name, I = value, Type = AttributeProto.Types.AttributeType.Int };

        public AttributeProto Number(string name, float value) => new() { Name = name, F = value, Type = AttributeProto.Types.AttributeType.Float };

        public AttributeProto Text(string name, string value) => new() { Name = name, S = ByteString.CopyFromUtf8(value), Type = AttributeProto.Types.AttributeType.String };

        public GraphProto Build(string name, ValueInfoProto input, IEnumerable<ValueInfoProto> outputs)
        {
            _graph.Name = name;
            _graph.Input.Add(input);
            _graph.Output.AddRange(outputs);
            return _graph;
        }
    }
}
