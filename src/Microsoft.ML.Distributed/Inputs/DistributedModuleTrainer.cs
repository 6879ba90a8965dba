using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>Trains a network that has several named columns as its inputs, on a cluster.</summary>
/// <remarks>
/// Made by <c>DistributedNeuralNetwork</c> of ML.NET's catalogs of trainers with columns of categories, and by <c>DistributedTorchModule&lt;TModule, TInputs&gt;</c>,
/// a module of your own, with the package MLDistributed.TorchSharp.
/// </remarks>
/// <typeparam name="TTransformer">ML.NET's prediction transformer for the task.</typeparam>
public sealed class DistributedModuleTrainer<TTransformer> : IEstimator<TransformerChain<TTransformer>>, IDistributedTrainer
    where TTransformer : class, ITransformer
{
    private readonly IHostEnvironment _environment;
    private readonly NeuralNetworkOptions _options;
    private readonly NetworkColumns _columns;
    private readonly Func<IHostEnvironment, NeuralNetworkOptions, NetworkModule?, INetworkTrainer<TTransformer>> _make;

    internal DistributedModuleTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkColumns columns, Func<IHostEnvironment, NeuralNetworkOptions, NetworkModule?, INetworkTrainer<TTransformer>> make) =>
        (_environment, _options, _columns, _make) = (environment, options, columns, make);

    private string FeaturesName => $"{_columns.Name}.Inputs";

    /// <summary>Trains the network on a cluster and returns the transformer that scores with it.</summary>
    /// <param name="input">The training data, with a column for each of its inputs.</param>
    /// <returns>
    /// A chain of two: the inputs as one vector, in a column that is called as the module, or DistributedNeuralNetwork, and ".Inputs", and ML.NET's prediction transformer. It saves
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
        ThrowIfAny([.. _columns.Errors(_options, inputSchema)]);
        var features = new SchemaShape.Column(FeaturesName, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false);
        return _make(_environment, Options(), null).GetOutputSchema(new SchemaShape(inputSchema.Where(c => c.Name != FeaturesName).Append(features)));
    }

    private FramedTraining<TTransformer> Prepare(IDataView input)
    {
        ThrowIfAny([.. _columns.Errors(_options, SchemaShape.Create(input.Schema))]);
        var found = _columns.Inputs(_options).Select(name => InputColumn.Of(input.Schema[name], _columns.RoleOf(name, _options))).ToList();
        ThrowIfAny([.. found.Select(f => f.Error).OfType<string>()]);
        var columns = found.ConvertAll(f => f.Column!);
        if (_options.ValidationSet is { } set)
            ThrowIfAny([.. columns.Select(c => Mismatch(c, input.Schema, set.Schema)).OfType<string>()]);

        var inputs = new ModuleInputsTransformer(_environment, FeaturesName, columns);
        var options = Options();
        options.ValidationSet = _options.ValidationSet is { } validation ? inputs.Transform(validation) : null;
        return new FramedTraining<TTransformer>(_make(_environment, options, _columns.Network(columns)), new PredictionFrame(_environment, inputs), inputs.Transform(input));
    }

    // Keys of the same number may stand for others.
    private string? Mismatch(InputColumn column, DataViewSchema training, DataViewSchema validation)
    {
        var role = TrainingColumns.RoleIn("Validation set", _columns.RoleOf(column.Name, _options));
        return column.Mismatch(validation, role) ?? (column.IsKey ? SameMeaning.CompareKeys(training[column.Name], validation[column.Name], role, "key") : null);
    }

    private NeuralNetworkOptions Options()
    {
        var options = _options.Copy();
        options.FeatureColumnName = FeaturesName;
        return options;
    }

    private void ThrowIfAny(IReadOnlyList<string> errors)
    {
        if (errors.Count > 0)
            throw NeuralNetworkOptions.Refusal(_columns.Name, errors);
    }
}
