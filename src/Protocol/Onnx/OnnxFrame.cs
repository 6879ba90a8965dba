using System.Globalization;
using static MLDistributed.Protocol.Onnx.OnnxMlpWriter;

namespace MLDistributed.Protocol.Onnx;

/// <summary>What is around the layers of every module: features are standardised before them, and the task's outputs made of theirs.</summary>
public static class OnnxFrame
{
    /// <summary>The version of the operators.</summary>
    public const int Opset = 20;

    private const int IrVersion = 10;

    /// <summary>Makes a model.</summary>
    /// <param name="spec">The job that trained it: sizes, task, feature and label scaling.</param>
    /// <param name="graph">The graph to write to.</param>
    /// <param name="name">The graph's name.</param>
    /// <param name="layers">Writes the layers: from the name of the standardised features, and the name that their output is to have (null: any), to the name of their output.</param>
    /// <param name="hasLeastProbabilities">Not in models of release 0.1, which clipped none.</param>
    public static ModelProto Build(JobSpec spec, OnnxGraph graph, string name, Func<string, string?, string> layers, bool hasLeastProbabilities = true)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(layers);
        var module = spec?.Module?.Kind ?? throw new ArgumentException("The job has no module, expected one.", nameof(spec));
        var raw = layers(Inputs(graph, module.ModelInputSize, spec.Data?.Features, spec.Module.Mlp), spec.Task == MlTask.Binary ? Score : null);
        var outputs = Outputs(graph, spec, hasLeastProbabilities, raw);
        return Model(spec, graph, name, outputs.Select(output => spec.Task == MlTask.Tagging ? Rows(output, module.ModelInputSize, module.OutputSize) : Rows(output, module.OutputSize)));
    }

    /// <summary>Makes a model of a module whose outputs are columns, which are as it puts them out.</summary>
    /// <param name="spec">The job that trained it.</param>
    /// <param name="graph">The graph to write to.</param>
    /// <param name="name">The graph's name.</param>
    /// <param name="layers">Writes the layers: from the name of the standardised features to the names and sizes of their outputs.</param>
    public static ModelProto BuildColumns(JobSpec spec, OnnxGraph graph, string name, Func<string, IEnumerable<(string Name, int Size)>> layers)
    {
        ArgumentNullException.ThrowIfNull(graph);
        ArgumentNullException.ThrowIfNull(layers);
        var module = spec?.Module?.Kind ?? throw new ArgumentException("The job has no module, expected one.", nameof(spec));
        var outputs = layers(Inputs(graph, module.ModelInputSize, spec.Data?.Features, null)).ToList();
        return Model(spec, graph, name, [.. outputs.Select((output, i) => Rows(graph.Node("Identity", [output.Name], OutputName(i)), output.Size))]);
    }

    /// <summary>What an output of a module with several is called in its graph.</summary>
    /// <param name="index">Its place among them.</param>
    public static string OutputName(int index) => string.Create(CultureInfo.InvariantCulture, $"output.{index}");

    private static ModelProto Model(JobSpec spec, OnnxGraph graph, string name, IEnumerable<ValueInfoProto> outputs)
    {
        var module = spec.Module.Kind!;
        return new ModelProto
        {
            IrVersion = IrVersion,
            ProducerName = "MLDistributed",
            ProducerVersion = typeof(OnnxFrame).Assembly.GetName().Version?.ToString(3) ?? "",
            OpsetImport = { new OperatorSetIdProto { Version = Opset } },
            MetadataProps =
            {
                new StringStringEntryProto { Key = "producer", Value = "MLDistributed" },
                new StringStringEntryProto { Key = "task", Value = spec.Task.ToString().ToLowerInvariant() },
                new StringStringEntryProto { Key = "outputs", Value = module.OutputSize.ToString(CultureInfo.InvariantCulture) },
            },
            Graph = graph.Build(name, Rows(Features, module.ModelInputSize), outputs),
        };
    }

    private static string Inputs(OnnxGraph graph, int size, FeatureScaling? scaling, MlpSpec? mlp)
    {
        var missing = graph.Node("IsNaN", [Features]);
        if (scaling is null)
            return Side(graph, OnnxCategories.Parts(graph, mlp, graph.Node("Where", [missing, graph.Constant("zero", [], [0f]), Features])));
        if (mlp?.Sparse is not null)
            return graph.Node("Mul", [graph.Node("Where", [missing, graph.Constant("zero", [], [0f]), Features]), graph.Constant(FeatureScale, [size], [.. scaling.Scale])]);
        // What a row has for training alone is behind the others.
        var mean = graph.Constant(FeatureMean, [size], [.. scaling.Mean.Take(size)]);
        var filled = graph.Node("Where", [missing, mean, Features]);
        var centered = graph.Node("Sub", [filled, mean]);
        var standard = graph.Node("Mul", [centered, graph.Constant(FeatureScale, [size], [.. scaling.Scale.Take(size)])]);
        var parts = OnnxCategories.Parts(graph, mlp, standard);
        return Side(graph, mlp?.Steps is { } steps ? [.. parts, Steps(graph, filled, steps)] : parts);
    }

    private static string Side(OnnxGraph graph, IReadOnlyList<string> parts) => parts is [var one] ? one : graph.Node("Concat", parts, null, OnnxGraph.Integer("axis", 1));

    private static string Steps(OnnxGraph graph, string features, FeatureStepsSpec steps)
    {
        var stepped = graph.Node("Gather", [features, graph.Integers("steps.slot", [.. steps.Slot.Select(s => (long)s)])], null, OnnxGraph.Integer("axis", 1));
        var above = graph.Node("Sub", [stepped, graph.Constant(StepStart, [steps.Slot.Count], [.. steps.Start])]);
        var risen = graph.Node("Mul", [above, graph.Constant(StepScale, [steps.Slot.Count], [.. steps.Scale])]);
        return graph.Node("Clip", [risen, graph.Constant("steps.least", [], [0]), graph.Constant("steps.most", [], [1])]);
    }

    private static string[] Outputs(OnnxGraph graph, JobSpec spec, bool hasLeastProbabilities, string raw)
    {
        switch (spec.Task)
        {
            case MlTask.Multiclass when !hasLeastProbabilities:
                return [graph.Node("Softmax", [raw], Score, OnnxGraph.Integer("axis", -1))];
            case MlTask.Binary when !hasLeastProbabilities:
                return [raw, graph.Node("Sigmoid", [raw], Probability)];
            case MlTask.Multiclass or MlTask.Tagging:
                return [graph.Node("Clip", [graph.Node("Softmax", [raw], null, OnnxGraph.Integer("axis", -1)), graph.Constant(ScoreLeast, [], [LeastClassProbability])], Score)];
            case MlTask.Binary:
                return [raw, graph.Node("Clip",
                    [graph.Node("Sigmoid", [raw]), graph.Constant(ProbabilityLeast, [], [LeastProbability]), graph.Constant("probability.most", [], [1 - LeastProbability])], Probability)];
            case MlTask.Regression when spec.Data?.Label is { } label:
                // A scale of 0 stands for a constant label: every prediction is the mean.
                var unscaled = graph.Node("Mul", [raw, graph.Constant(LabelUnit, [], [label.Scale == 0 ? 0 : 1 / label.Scale])]);
                return [graph.Node("Add", [unscaled, graph.Constant(LabelMean, [], [label.Mean])], Score)];
            case MlTask.Regression or MlTask.Ranking:
                return [graph.Node("Identity", [raw], Score)];
            default:
                throw new ArgumentException($"Task is \"{spec.Task}\", expected one that this release knows.", nameof(spec));
        }
    }

    private static ValueInfoProto Rows(string name, params IEnumerable<int> shape) => Rows(name, TensorProto.Types.DataType.Float, shape);

    internal static ValueInfoProto Rows(string name, TensorProto.Types.DataType type, params IEnumerable<int> shape) => new()
    {
        Name = name,
        Type = new TypeProto
        {
            TensorType = new TypeProto.Types.Tensor
            {
                ElemType = (int)type,
                Shape = new TensorShapeProto
                {
                    Dim = { new TensorShapeProto.Types.Dimension { DimParam = "N" }, shape.Select(size => new TensorShapeProto.Types.Dimension { DimValue = size }) },
                },
            },
        },
    };
}
