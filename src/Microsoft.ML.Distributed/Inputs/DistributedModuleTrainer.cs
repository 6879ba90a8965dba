using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a module of your own that has several named columns as its inputs, on a cluster.</summary>
/// <remarks>Made by <c>DistributedTorchModule&lt;TModule, TInputs&gt;</c> of ML.NET's catalogs of trainers, with the package MLDistributed.TorchSharp.</remarks>
/// <typeparam name="TTransformer">ML.NET's prediction transformer for the task.</typeparam>
public sealed class DistributedModuleTrainer<TTransformer> : IEstimator<TransformerChain<TTransformer>>, IDistributedTrainer
    where TTransformer : class, ITransformer
{
    private readonly IHostEnvironment _environment;
    private readonly NeuralNetworkOptions _options;
    private readonly OwnModule _module;
    private readonly IReadOnlyList<string> _inputs;
    private readonly Func<IHostEnvironment, NeuralNetworkOptions, OwnModule, INetworkTrainer<TTransformer>> _make;

    internal DistributedModuleTrainer(IHostEnvironment environment, NeuralNetworkOptions options, OwnModule module, IReadOnlyList<string> inputs, Func<IHostEnvironment, NeuralNetworkOptions, OwnModule, INetworkTrainer<TTransformer>> make) =>
        (_environment, _options, _module, _inputs, _make) = (environment, options, module, inputs, make);

    private string FeaturesName => $"{_module.Name}.Inputs";

    /// <summary>Trains the module on a cluster and returns the transformer that scores with it.</summary>
    /// <param name="input">The training data, with a column for each input of the module.</param>
    /// <returns>
    /// A chain of two: the inputs as one vector, in a column that is called as the module and ".Inputs", and ML.NET's prediction transformer. It saves
    /// and loads with <c>ml.Model</c>, and scores without libtorch.
    /// </returns>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is. No data was read.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public TransformerChain<TTransformer> Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        return Prepare(input).Fit();
    }

    /// <summary>Trains for a while with a learning rate that rises in every step, and tells the losses, as <c>NeuralNetworkTrainer.FindLearningRate</c> does.</summary>
    /// <inheritdoc cref="NeuralNetworkTrainer{TTransformer, TModel}.FindLearningRate"/>
    public LearningRateCurve FindLearningRate(IDataView input, double from = 1e-6, double to = 1, int steps = 200)
    {
        ArgumentNullException.ThrowIfNull(input);
        return Prepare(input).FindLearningRate(from, to, steps);
    }

    string IDistributedTrainer.Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation) => Prepare(input).Submit(cluster, cancellation);

    /// <summary>The schema after this trainer's transformer; refuses columns and options that it cannot train with.</summary>
    /// <param name="inputSchema">The schema of the training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        ThrowIfAny([.. OptionErrors(), .. InputColumn.Validate(_inputs, inputSchema, "Input")]);
        var features = new SchemaShape.Column(FeaturesName, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false);
        return _make(_environment, Options(), _module).GetOutputSchema(new SchemaShape(inputSchema.Where(c => c.Name != FeaturesName).Append(features)));
    }

    private FramedTraining<TTransformer> Prepare(IDataView input)
    {
        ThrowIfAny([.. OptionErrors(), .. InputColumn.Validate(_inputs, SchemaShape.Create(input.Schema), "Input")]);
        var found = _inputs.Select(name => InputColumn.Of(input.Schema[name], "Input")).ToList();
        ThrowIfAny([.. found.Select(f => f.Error).OfType<string>()]);
        var columns = found.ConvertAll(f => f.Column!);
        if (_options.ValidationSet is { } set)
            ThrowIfAny([.. columns.Select(c => c.Mismatch(set.Schema, "Validation set: input")).OfType<string>()]);

        var inputs = new ModuleInputsTransformer(_environment, FeaturesName, columns);
        var options = Options();
        options.ValidationSet = _options.ValidationSet is { } validation ? inputs.Transform(validation) : null;
        return new FramedTraining<TTransformer>(_make(_environment, options, _module.WithInputs(columns)), new PredictionFrame(_environment, inputs), inputs.Transform(input));
    }

    private NeuralNetworkOptions Options()
    {
        var options = _options.Copy();
        options.FeatureColumnName = FeaturesName;
        return options;
    }

    private IEnumerable<string> OptionErrors()
    {
        if (_options.FeatureColumnName != DefaultColumnNames.Features)
            yield return $"FeatureColumnName is \"{_options.FeatureColumnName}\" beside a module of several inputs, expected it left alone: the columns are {string.Join(", ", _inputs.Select(i => $"\"{i}\""))}, as the module's inputs are called.";
        if (_inputs.Contains(_options.LabelColumnName))
            yield return $"Label column \"{_options.LabelColumnName}\" is an input of module \"{_module.Name}\" too, expected another column.";
    }

    private void ThrowIfAny(IReadOnlyList<string> errors)
    {
        if (errors.Count > 0)
            throw NeuralNetworkOptions.Refusal(_module.Name, errors);
    }
}
