using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Trainers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What the neural-network trainers share: they encode the data, hand a job to a cluster and make a model of its result.</summary>
/// <typeparam name="TTransformer">ML.NET's prediction transformer for the task.</typeparam>
/// <typeparam name="TModel">The model.</typeparam>
public abstract class NeuralNetworkTrainer<TTransformer, TModel> : TrainerEstimatorBase<TTransformer, TModel>, INetworkTrainer<TTransformer>
    where TTransformer : ISingleFeaturePredictionTransformer<TModel>
    where TModel : class
{
    private readonly IHostEnvironment _environment;
    private readonly NeuralNetworkOptions _options;
    private readonly NetworkModule _module;
    private readonly MlTask _task;
    private readonly ulong _seed;
    private readonly string _name;
    private ModelFrame? _frame;

    private protected NeuralNetworkTrainer(IHostEnvironment environment, NeuralNetworkOptions options, NetworkModule? module, MlTask task, string name, Func<string, SchemaShape.Column> label)
        : base(
            environment.Register(name),
            TrainerUtils.MakeR4VecFeature(WithNames(options, name).FeatureColumnName),
            label(options.LabelColumnName),
            options.ExampleWeightColumnName is null ? default : TrainerUtils.MakeR4ScalarWeightColumn(options.ExampleWeightColumnName))
    {
        (_environment, _options, _module, _task, _name) = (environment, options, module ?? BuiltInNetwork.Instance, task, name);
        _seed = FitEnvironment.Seed(environment, options, Host);
    }

    /// <summary>Features are normalised inside the network, and data is read once: neither normalisation nor caching is asked for.</summary>
    public override TrainerInfo Info { get; } = new(normalization: false, caching: false);

    ModelFrame? INetworkTrainer<TTransformer>.Frame
    {
        set => _frame = value;
    }

    private TrainingColumns Columns => new(_task, _options.FeatureColumnName, _options.LabelColumnName, _options.ExampleWeightColumnName) { Group = _options.GroupColumn };

    /// <summary>Trains a network on a cluster and returns the transformer that scores with it.</summary>
    /// <param name="input">The training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is. No data was read.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public new TTransformer Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        Validate(input.Schema);
        return Introduced(base.Fit(input));
    }

    /// <summary>
    /// Trains for a while with a learning rate that rises in every step, from far too little to far too much, and tells the losses:
    /// just below where they rise is a good <see cref="NeuralNetworkOptions.LearningRate"/> (Smith, arXiv:1506.01186). No model comes of it.
    /// </summary>
    /// <param name="input">The training data, as this trainer sees it.</param>
    /// <param name="from">The rate of the first step, above 0.</param>
    /// <param name="to">The rate of the last step, above <paramref name="from"/>; with <see cref="SgdOptimizer"/> rates are some ten times as high.</param>
    /// <param name="steps">Steps, from 10, rounded up to whole epochs. It ends before when the loss has grown fourfold, or is no number any more.</param>
    /// <exception cref="ArgumentException">Columns, options or rates are wrong. No data was read.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <example><code>
    /// var options = new DistributedRegressionTrainer.Options();
    /// options.LearningRate = ml.Regression.Trainers.DistributedNeuralNetwork(options).FindLearningRate(trainingData).Suggestion;
    /// </code></example>
    public LearningRateCurve FindLearningRate(IDataView input, double from = 1e-6, double to = 1, int steps = 200)
    {
        ArgumentNullException.ThrowIfNull(input);
        LearningRateTest.Check(from, to, steps);
        Validate(input.Schema);
        using var channel = Host.Start("Training");
        return NewRun(ClusterSelection.Resolve(_environment, _options.Cluster), input, channel, _options.CancellationToken).FindLearningRate(input, from, to, steps);
    }

    string IDistributedTrainer.Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation)
    {
        Validate(input.Schema);
        using var channel = Host.Start("Training");
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, _options.CancellationToken);
        return NewRun(cluster, input, channel, either.Token).Submit(input);
    }

    /// <summary>The transformer of a network that was trained before.</summary>
    internal TTransformer Restore(TrainedNetwork network, DataViewSchema schema) => Introduced(MakeTransformer(MakeModel(Host, network), schema));

    /// <summary>The schema after this trainer's transformer; refuses columns and options that it cannot train with.</summary>
    /// <param name="inputSchema">The schema of the training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public new SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        // The number of classes and features is not in a SchemaShape: their rules wait for the data.
        ThrowIfAny([.. Columns.Validate(inputSchema)]);
        return base.GetOutputSchema(inputSchema);
    }

    /// <inheritdoc/>
    protected override void CheckLabelCompatible(SchemaShape.Column labelCol)
    {
        // Checked by GetOutputSchema and Fit, with better words.
    }

    /// <inheritdoc/>
    protected override TModel TrainModelCore(TrainContext trainContext)
    {
        using var channel = Host.Start("Training");
        var data = trainContext.TrainingSet.Data;
        // First, so that a cluster that has to be started does so while the data is encoded.
        var backend = ClusterSelection.Resolve(_environment, _options.Cluster);
        return MakeModel(Host, NewRun(backend, data, channel, _options.CancellationToken).Execute(data));
    }

    private TrainingRun NewRun(ITrainingBackend backend, IDataView data, IChannel channel, CancellationToken cancellation)
    {
        var (features, outputs) = Columns.Measure(data.Schema);
        var spec = JobSpecFactory.Create(_options, _module, _task, features, outputs, _seed, _name);
        spec.ModelSchema = ModelSchema.Write(Host, data.Schema, Columns);
        return new TrainingRun(backend, Columns, _options, _module, spec, StartingNetwork.Find(_options.StartFrom, out _), channel, FitEnvironment.EncodingFolder(_environment), cancellation) { Frame = _frame };
    }

    private static TTransformer Introduced(TTransformer transformer)
    {
        if (transformer.Model is ITrainedModel model)
            model.Transformer = (ISingleFeaturePredictionTransformer<object>)transformer;
        return transformer;
    }

    private protected abstract TModel MakeModel(IHostEnvironment environment, TrainedNetwork network);

    private void Validate(DataViewSchema schema)
    {
        var errors = Columns.Validate(SchemaShape.Create(schema)).ToList();
        var areColumnsValid = errors.Count == 0;
        var (features, outputs) = areColumnsValid ? Columns.Measure(schema) : (1, 2);
        if (areColumnsValid && _task == MlTask.Multiclass && outputs < 2)
            errors.Add($"Label column \"{_options.LabelColumnName}\" has one class only, expected two or more. Check that the data has rows, and how it was filtered or split.");
        if (_options.ExampleWeightColumnName == _options.LabelColumnName)
            errors.Add($"ExampleWeightColumnName is \"{_options.ExampleWeightColumnName}\", the label column, expected a column of weights, or null for equal weights.");
        if (_task == MlTask.Ranking && _options.ExampleWeightColumnName is not null)
            errors.Add($"ExampleWeightColumnName is \"{_options.ExampleWeightColumnName}\" in ranking, expected null: what counts are pairs of rows, all groups alike.");
        if (_options.GroupColumn == _options.LabelColumnName)
            errors.Add($"RowGroupColumnName is \"{_options.GroupColumn}\", the label column, expected the column that tells which rows are ranked together.");
        if (_options.ValidationSet is { } validation)
            errors.AddRange(ValidateValidationSet(validation.Schema, schema, areColumnsValid));

        var spec = JobSpecFactory.Create(_options, _module, _task, features, Math.Max(outputs, _task == MlTask.Multiclass ? 2 : 1), _seed, _name);
        var start = StartingNetwork.Find(_options.StartFrom, out var unusable);
        // Where only the data tells, the form that asks for less is judged; the encoder's choice is judged again.
        var form = _module.FormOf(_options, start);
        if (form == FeatureEncoding.Sparse || (form == FeatureEncoding.Auto && features >= FormWriter.LeastSparseWidth))
            _module.MakeSparse(spec, _options, meanNonZeros: 1);
        // The class weights' number can be judged only by a label column that has classes.
        if (!areColumnsValid)
            spec.ClassWeights.Clear();
        errors.AddRange(JobSpecFactory.Validate(_options, _module, spec));
        if (unusable is not null)
            errors.Add(unusable);
        if (start is not null)
            errors.AddRange(start.Mismatches(spec, _options.NormalizeFeatures, Columns, areColumnsValid ? schema : null));
        ThrowIfAny(errors);
    }

    private IEnumerable<string> ValidateValidationSet(DataViewSchema validation, DataViewSchema training, bool areColumnsValid)
    {
        const string subject = "Validation set";
        var errors = Columns.Validate(SchemaShape.Create(validation), subject).ToList();
        if (errors.Count > 0 || !areColumnsValid)
            return errors;
        var (expected, _) = Columns.Measure(training);
        var (features, _) = Columns.Measure(validation);
        if (features != expected)
            errors.Add($"{subject}: feature column \"{_options.FeatureColumnName}\" has {features:N0} slots, expected {expected:N0} as in the training data. Transform both with the same fitted transformer.");
        else if (SameMeaning.CompareSlots(training[_options.FeatureColumnName], validation[_options.FeatureColumnName]) is { } slot)
            errors.Add(slot);
        var label = _options.LabelColumnName;
        if (training[label].Type is KeyDataViewType != validation[label].Type is KeyDataViewType)
            errors.Add($"{subject}: label column \"{label}\" is a {validation[label].Type}, expected a {training[label].Type} as in the training data. Make both in the same way.");
        else if (training[label].Type is KeyDataViewType && SameMeaning.CompareKeys(training[label], validation[label]) is { } error)
            errors.Add(error);
        return errors;
    }

    // ML.NET's base makes columns of the names at once, so these errors cannot wait for the others.
    private static NeuralNetworkOptions WithNames(NeuralNetworkOptions options, string name)
    {
        var errors = new List<string>();
        if (string.IsNullOrEmpty(options.LabelColumnName))
            errors.Add("LabelColumnName is empty, expected the name of the label column.");
        if (string.IsNullOrEmpty(options.FeatureColumnName))
            errors.Add("FeatureColumnName is empty, expected the name of the features column.");
        if (options.ExampleWeightColumnName is { Length: 0 })
            errors.Add("ExampleWeightColumnName is empty, expected the name of a column of weights, or null for equal weights.");
        if (options is DistributedRankingTrainer.Options { RowGroupColumnName: null or "" })
            errors.Add("RowGroupColumnName is empty, expected the name of the column that tells which rows are ranked together.");
        return errors.Count == 0 ? options : throw NeuralNetworkOptions.Refusal(name, errors);
    }

    private void ThrowIfAny(List<string> errors)
    {
        if (errors.Count > 0)
            throw NeuralNetworkOptions.Refusal(_name, errors);
    }
}
