using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a module of your own whose inputs, outputs and labels are columns, by a loss of its own, on a cluster.</summary>
/// <remarks>Made by <c>ml.Transforms.DistributedTorchModule</c>, with the package MLDistributed.TorchSharp.</remarks>
public sealed class DistributedOutputsTrainer : IEstimator<TransformerChain<ModuleOutputsTransformer>>, IDistributedTrainer
{
    private readonly IHostEnvironment _environment;
    private readonly IHost _host;
    private readonly Options _options;
    private readonly OwnModule _module;
    private readonly ModuleNames _names;
    private readonly ulong _seed;

    internal DistributedOutputsTrainer(IHostEnvironment environment, Options options, OwnModule module, ModuleNames names)
    {
        (_environment, _host, _options, _module, _names) = (environment, environment.Register(nameof(DistributedOutputsTrainer)), options, module, names);
        _seed = FitEnvironment.Seed(environment, options, _host);
    }

    private TrainingColumns Columns => new(MlTask.Own, $"{_module.Name}.Inputs", string.Join(", ", _names.Labels), _options.ExampleWeightColumnName);

    private IReadOnlyList<ModuleOutput> Outputs => [.. _names.Outputs.Select(name => new ModuleOutput { Name = name, Column = _options.OutputColumnNames.GetValueOrDefault(name, name), NumberIsScalar = true })];

    /// <summary>Trains the module on a cluster and returns the transformer that scores with it.</summary>
    /// <param name="input">The training data, with a column for each input and each label of the module.</param>
    /// <returns>
    /// A chain of two: the inputs as one vector, in a column that is called as the module and ".Inputs", and the module, with a column for each of its
    /// outputs. It saves and loads with <c>ml.Model</c>, scores without libtorch, and needs no labels.
    /// </returns>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is. No data was read.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public TransformerChain<ModuleOutputsTransformer> Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        var rows = Rows(input);
        using var channel = _host.Start("Training");
        var network = NewRun(ClusterSelection.Resolve(_environment, _options.Cluster), rows, channel, _options.CancellationToken).Execute(rows.Data);
        return Chain(_environment, network, Columns.Features);
    }

    /// <summary>Trains for a while with a learning rate that rises in every step, and tells the losses, as <c>NeuralNetworkTrainer.FindLearningRate</c> does.</summary>
    /// <inheritdoc cref="NeuralNetworkTrainer{TTransformer, TModel}.FindLearningRate"/>
    public LearningRateCurve FindLearningRate(IDataView input, double from = 1e-6, double to = 1, int steps = 200)
    {
        ArgumentNullException.ThrowIfNull(input);
        LearningRateTest.Check(from, to, steps);
        var rows = Rows(input);
        using var channel = _host.Start("Training");
        return NewRun(ClusterSelection.Resolve(_environment, _options.Cluster), rows, channel, _options.CancellationToken).FindLearningRate(rows.Data, from, to, steps);
    }

    /// <summary>
    /// The schema after this trainer's transformer; refuses columns and options that it cannot train with. It has a vector for each output, as the module alone
    /// knows their sizes: those of one number will be a Single.
    /// </summary>
    /// <param name="inputSchema">The schema of the training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        ThrowIfAny([.. OptionErrors(), .. ColumnErrors(inputSchema, "")]);
        SchemaShape.Column[] made = [.. Outputs.Select(o => o.Column).Append(Columns.Features).Select(name => new SchemaShape.Column(name, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false))];
        return new SchemaShape(inputSchema.Where(c => made.All(m => m.Name != c.Name)).Concat(made));
    }

    string IDistributedTrainer.Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation)
    {
        var rows = Rows(input);
        using var channel = _host.Start("Training");
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _options.CancellationToken);
        return NewRun(cluster, rows, channel, either.Token).Submit(rows.Data);
    }

    /// <summary>The transformer of a network that was trained.</summary>
    internal static TransformerChain<ModuleOutputsTransformer> Chain(IHostEnvironment environment, TrainedNetwork network, string features) =>
        new(new ModuleInputsTransformer(environment, features, [.. network.Spec.Module.Torch.Inputs.Select(InputColumn.Of)]), new ModuleOutputsTransformer(environment, network, features));

    private TrainingRun NewRun(ITrainingBackend backend, TrainingRows rows, IChannel channel, CancellationToken cancellation)
    {
        rows.Spec.ModelSchema = ModelSchema.Write(_host, rows.Data.Schema, Columns);
        return new TrainingRun(backend, Columns, rows.Options, rows.Module, rows.Spec, start: null, channel, FitEnvironment.EncodingFolder(_environment), cancellation);
    }

    // All that can be wrong is found out before a row is read.
    private TrainingRows Rows(IDataView input)
    {
        ThrowIfAny([.. OptionErrors(), .. ColumnErrors(SchemaShape.Create(input.Schema), "")]);
        var found = _names.Inputs.Select(name => InputColumn.Of(input.Schema[name], "Input")).Concat(_names.Labels.Select(name => InputColumn.Of(input.Schema[name], "Label"))).ToList();
        ThrowIfAny([.. found.Select(f => f.Error).OfType<string>()]);
        var columns = found.ConvertAll(f => f.Column!);
        var (inputs, labels) = (columns[.._names.Inputs.Count], columns[_names.Inputs.Count..]);
        if (_options.ValidationSet is { } set)
        {
            ThrowIfAny([.. inputs.Select(c => c.Mismatch(set.Schema, "Validation set: input")).Concat(labels.Select(c => c.Mismatch(set.Schema, "Validation set: label"))).OfType<string>()]);
            ThrowIfAny([.. ColumnErrors(SchemaShape.Create(set.Schema), "Validation set")]);
        }

        var rows = new LabelledInputsTransformer(_environment, Columns, inputs, labels);
        var options = (Options)_options.Copy();
        (options.FeatureColumnName, options.LabelColumnName) = (Columns.Features, Columns.Label);
        options.ValidationSet = _options.ValidationSet is { } validation ? rows.Transform(validation) : null;
        var module = _module.WithInputs(inputs, labels, Outputs);
        var spec = JobSpecFactory.Create(options, module, MlTask.Own, columns.Sum(c => c.Size), outputCount: 0, _seed, nameof(DistributedOutputsTrainer));
        ThrowIfAny([.. JobSpecFactory.Validate(options, module, spec)]);
        return new TrainingRows(rows.Transform(input), options, module, spec);
    }

    private IEnumerable<string> ColumnErrors(SchemaShape schema, string subject)
    {
        foreach (var error in InputColumn.Validate(_names.Inputs, schema, subject.Length == 0 ? "Input" : $"{subject}: input").Concat(InputColumn.Validate(_names.Labels, schema, subject.Length == 0 ? "Label" : $"{subject}: label")))
            yield return error;
        if (Columns.WeightError(schema, subject) is { } weight)
            yield return weight;
    }

    private IEnumerable<string> OptionErrors()
    {
        if (_options.FeatureColumnName != DefaultColumnNames.Features)
            yield return $"FeatureColumnName is \"{_options.FeatureColumnName}\" beside a module of several inputs, expected it left alone: the columns are {Quoted(_names.Inputs)}, as the module's inputs are called.";
        if (_options.LabelColumnName != DefaultColumnNames.Label)
            yield return $"LabelColumnName is \"{_options.LabelColumnName}\" beside a module whose outputs are columns, expected it left alone: the columns are {Quoted(_names.Labels)}, as the labels of its loss are called.";
        if (_options.StartFrom is not null)
            yield return "StartFrom is set beside a module whose outputs are columns, expected null: it begins with the numbers that its constructor gives it.";
        foreach (var name in _options.OutputColumnNames.Keys.Except(_names.Outputs))
            yield return $"OutputColumnNames has \"{name}\", expected outputs of the module: {Quoted(_names.Outputs)}.";
        foreach (var output in Outputs)
        {
            if (string.IsNullOrWhiteSpace(output.Column))
                yield return $"Output \"{output.Name}\" has no column, expected a name in OutputColumnNames, or none for that of the output.";
            else if (_names.Inputs.Contains(output.Column))
                yield return $"Output \"{output.Name}\" has the column \"{output.Column}\", which is called as an input, expected another: its ONNX file has both. Name it in OutputColumnNames.";
        }

        foreach (var column in Outputs.GroupBy(o => o.Column).Where(g => g.Count() > 1))
            yield return $"Outputs {Quoted(column.Select(o => o.Name))} have the column \"{column.Key}\", expected one for each. Name them in OutputColumnNames.";
    }

    private static string Quoted(IEnumerable<string> names) => string.Join(", ", names.Select(n => $"\"{n}\""));

    private void ThrowIfAny(IReadOnlyList<string> errors)
    {
        if (errors.Count > 0)
            throw NeuralNetworkOptions.Refusal(_module.Name, errors);
    }

    private sealed record TrainingRows(IDataView Data, Options Options, OwnModule Module, JobSpec Spec);

    /// <summary>Options of <see cref="DistributedOutputsTrainer"/>.</summary>
    public sealed class Options : NeuralNetworkOptions
    {
        /// <summary>What the columns of outputs are called, by the names of these.</summary>
        /// <value>None: as the outputs.</value>
        /// <example><code>new DistributedOutputsTrainer.Options { OutputColumnNames = new Dictionary&lt;string, string&gt; { ["Amount"] = "PredictedAmount" } }</code></example>
        public IReadOnlyDictionary<string, string> OutputColumnNames { get; set; } = new Dictionary<string, string>();

        internal override void Complete(JobSpec spec)
        {
        }
    }
}

/// <summary>What the tensors of a module's records are called: those it takes, those its loss takes, and those it returns.</summary>
internal sealed record ModuleNames(IReadOnlyList<string> Inputs, IReadOnlyList<string> Labels, IReadOnlyList<string> Outputs);
