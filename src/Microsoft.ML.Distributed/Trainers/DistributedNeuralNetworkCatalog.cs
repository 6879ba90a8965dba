using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace Microsoft.ML;

/// <summary>Adds the distributed neural network to ML.NET's catalogs of trainers.</summary>
public static class DistributedNeuralNetworkCatalog
{
    /// <summary>A neural network that tells classes apart, trained on a cluster: <see cref="DistributedMulticlassTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a key.</param>
    /// <param name="featureColumnName">The features column: a vector of Single with a known size. Raw values are fine; they are standardised inside.</param>
    /// <param name="exampleWeightColumnName">The column of example weights, a Single; null for equal weights.</param>
    /// <param name="hiddenLayers">The sizes of the hidden layers; null for [256, 128] (of wide sparse features the first is narrower), empty for a linear model.</param>
    /// <param name="epochs">Passes over the training rows.</param>
    /// <param name="batchSize">Rows a step, over all ranks together; null: <see cref="NeuralNetworkOptions.BatchSize"/> says which.</param>
    /// <param name="learningRate">The learning rate at its highest.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Conversion.MapValueToKey("Label")
    ///     .Append(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(hiddenLayers: [128, 64], epochs: 20))
    ///     .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));
    /// ITransformer model = pipeline.Fit(trainingData);
    /// ml.Model.Save(model, trainingData.Schema, "model.zip");
    /// </code></example>
    public static DistributedMulticlassTrainer DistributedNeuralNetwork(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        string? exampleWeightColumnName = null,
        int[]? hiddenLayers = null,
        int epochs = NeuralNetworkOptions.DefaultEpochs,
        int? batchSize = null,
        double learningRate = NeuralNetworkOptions.DefaultLearningRate) =>
        DistributedNeuralNetwork(catalog, Options<DistributedMulticlassTrainer.Options>(labelColumnName, featureColumnName, exampleWeightColumnName, hiddenLayers, epochs, batchSize, learningRate));

    /// <summary>A neural network that tells classes apart, trained on a cluster, with all options: <see cref="DistributedMulticlassTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
    /// {
    ///     HiddenLayers = [256, 128],
    ///     Dropout = 0.1,
    ///     ValidationFraction = 0.1,
    ///     EarlyStopping = new EarlyStopping { PatienceEpochs = 5 },
    ///     CancellationToken = cancellation,
    /// });
    /// </code></example>
    public static DistributedMulticlassTrainer DistributedNeuralNetwork(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedMulticlassTrainer.Options options) =>
        OfModule(catalog, options, module: null);

    /// <summary>A neural network that answers yes or no, trained on a cluster: <see cref="DistributedBinaryTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a Boolean.</param>
    /// <param name="featureColumnName">The features column: a vector of Single with a known size. Raw values are fine; they are standardised inside.</param>
    /// <param name="exampleWeightColumnName">The column of example weights, a Single; null for equal weights.</param>
    /// <param name="hiddenLayers">The sizes of the hidden layers; null for [256, 128] (of wide sparse features the first is narrower), empty for a linear model.</param>
    /// <param name="epochs">Passes over the training rows.</param>
    /// <param name="batchSize">Rows a step, over all ranks together; null: <see cref="NeuralNetworkOptions.BatchSize"/> says which.</param>
    /// <param name="learningRate">The learning rate at its highest.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Concatenate("Features", "Radius", "Texture")
    ///     .Append(ml.BinaryClassification.Trainers.DistributedNeuralNetwork());
    /// ITransformer model = pipeline.Fit(trainingData);
    /// var metrics = ml.BinaryClassification.Evaluate(model.Transform(testData));
    /// </code></example>
    public static DistributedBinaryTrainer DistributedNeuralNetwork(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        string? exampleWeightColumnName = null,
        int[]? hiddenLayers = null,
        int epochs = NeuralNetworkOptions.DefaultEpochs,
        int? batchSize = null,
        double learningRate = NeuralNetworkOptions.DefaultLearningRate) =>
        DistributedNeuralNetwork(catalog, Options<DistributedBinaryTrainer.Options>(labelColumnName, featureColumnName, exampleWeightColumnName, hiddenLayers, epochs, batchSize, learningRate));

    /// <summary>A neural network that answers yes or no, trained on a cluster, with all options: <see cref="DistributedBinaryTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options
    /// {
    ///     Normalization = NetworkNormalization.Layer,
    ///     ValidationSet = validationData,
    /// });
    /// </code></example>
    public static DistributedBinaryTrainer DistributedNeuralNetwork(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, DistributedBinaryTrainer.Options options) =>
        OfModule(catalog, options, module: null);

    /// <summary>A neural network that predicts a number, trained on a cluster: <see cref="DistributedRegressionTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a Single.</param>
    /// <param name="featureColumnName">The features column: a vector of Single with a known size. Raw values are fine; they are standardised inside.</param>
    /// <param name="exampleWeightColumnName">The column of example weights, a Single; null for equal weights.</param>
    /// <param name="hiddenLayers">The sizes of the hidden layers; null for [256, 128] (of wide sparse features the first is narrower), empty for a linear model.</param>
    /// <param name="epochs">Passes over the training rows.</param>
    /// <param name="batchSize">Rows a step, over all ranks together; null: <see cref="NeuralNetworkOptions.BatchSize"/> says which.</param>
    /// <param name="learningRate">The learning rate at its highest.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Concatenate("Features", "Age", "Bmi")
    ///     .Append(ml.Regression.Trainers.DistributedNeuralNetwork(labelColumnName: "Progression"));
    /// ITransformer model = pipeline.Fit(trainingData);
    /// </code></example>
    public static DistributedRegressionTrainer DistributedNeuralNetwork(
        this RegressionCatalog.RegressionTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        string? exampleWeightColumnName = null,
        int[]? hiddenLayers = null,
        int epochs = NeuralNetworkOptions.DefaultEpochs,
        int? batchSize = null,
        double learningRate = NeuralNetworkOptions.DefaultLearningRate) =>
        DistributedNeuralNetwork(catalog, Options<DistributedRegressionTrainer.Options>(labelColumnName, featureColumnName, exampleWeightColumnName, hiddenLayers, epochs, batchSize, learningRate));

    /// <summary>A neural network that predicts a number, trained on a cluster, with all options: <see cref="DistributedRegressionTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options
    /// {
    ///     LabelColumnName = "Progression",
    ///     Optimizer = new SgdOptimizer { Momentum = 0.9 },
    ///     LearningRate = 0.05,
    /// });
    /// </code></example>
    public static DistributedRegressionTrainer DistributedNeuralNetwork(
        this RegressionCatalog.RegressionTrainers catalog, DistributedRegressionTrainer.Options options) =>
        OfModule(catalog, options, module: null);

    /// <summary>A neural network that ranks the rows of a group, trained on a cluster: <see cref="DistributedRankingTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Ranking.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: degrees of relevance, a Single with whole numbers from 0 (not relevant) to 30, or a key, whose first value is 0.</param>
    /// <param name="featureColumnName">The features column: a vector of Single with a known size. Raw values are fine; they are standardised inside.</param>
    /// <param name="rowGroupColumnName">The column that tells which rows are ranked together: a key. The rows of a group stand one behind the other.</param>
    /// <param name="hiddenLayers">The sizes of the hidden layers; null for [256, 128] (of wide sparse features the first is narrower), empty for a linear model.</param>
    /// <param name="epochs">Passes over the training rows.</param>
    /// <param name="batchSize">Rows a step on average, over all ranks together, in whole groups; null: <see cref="NeuralNetworkOptions.BatchSize"/> says which.</param>
    /// <param name="learningRate">The learning rate at its highest.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Conversion.MapValueToKey("GroupId", "Query")
    ///     .Append(ml.Ranking.Trainers.DistributedNeuralNetwork());
    /// ITransformer model = pipeline.Fit(trainingData);
    /// var metrics = ml.Ranking.Evaluate(model.Transform(testData));
    /// </code></example>
    public static DistributedRankingTrainer DistributedNeuralNetwork(
        this RankingCatalog.RankingTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        string rowGroupColumnName = DefaultColumnNames.GroupId,
        int[]? hiddenLayers = null,
        int epochs = NeuralNetworkOptions.DefaultEpochs,
        int? batchSize = null,
        double learningRate = NeuralNetworkOptions.DefaultLearningRate)
    {
        var options = Options<DistributedRankingTrainer.Options>(labelColumnName, featureColumnName, weight: null, hiddenLayers, epochs, batchSize, learningRate);
        options.RowGroupColumnName = rowGroupColumnName;
        return DistributedNeuralNetwork(catalog, options);
    }

    /// <summary>A neural network that ranks the rows of a group, trained on a cluster, with all options: <see cref="DistributedRankingTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Ranking.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.Ranking.Trainers.DistributedNeuralNetwork(new DistributedRankingTrainer.Options
    /// {
    ///     RowGroupColumnName = "Query",
    ///     TruncationLevel = 10,
    ///     ValidationFraction = 0.1,
    /// });
    /// </code></example>
    public static DistributedRankingTrainer DistributedNeuralNetwork(this RankingCatalog.RankingTrainers catalog, DistributedRankingTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedRankingTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }

    /// <summary>A neural network that tells classes apart, of a features column and columns of categories, trained on a cluster.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="categoricalColumnNames">Keys, as of <c>MapValueToKey</c>: each becomes numbers that are learnt (an embedding), as many as 1.6 times its number of keys to the power of 0.56, at most 50. What is missing or was not seen when the keys were made has a row of its own.</param>
    /// <param name="options">The trainer's options; null: the defaults. FeatureColumnName is "" where there are categories alone.</param>
    /// <returns>A trainer whose transformer is a chain: it makes a vector of the columns, in one that is called DistributedNeuralNetwork.Inputs, and scores it.</returns>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    public static DistributedModuleTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> DistributedNeuralNetwork(this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, string[] categoricalColumnNames, DistributedMulticlassTrainer.Options? options = null) =>
        OfMulticlass(catalog, options ?? new(), Categories(categoricalColumnNames));

    /// <summary>A neural network that answers yes or no, of a features column and columns of categories, trained on a cluster.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="categoricalColumnNames">Keys, as of <c>MapValueToKey</c>: each becomes numbers that are learnt (an embedding), as many as 1.6 times its number of keys to the power of 0.56, at most 50. What is missing or was not seen when the keys were made has a row of its own.</param>
    /// <param name="options">The trainer's options; null: the defaults. FeatureColumnName is "" where there are categories alone.</param>
    /// <returns>A trainer whose transformer is a chain: it makes a vector of the columns, in one that is called DistributedNeuralNetwork.Inputs, and scores it.</returns>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    public static DistributedModuleTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>> DistributedNeuralNetwork(this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, string[] categoricalColumnNames, DistributedBinaryTrainer.Options? options = null) =>
        OfBinary(catalog, options ?? new(), Categories(categoricalColumnNames));

    /// <summary>A neural network that predicts a number, of a features column and columns of categories, trained on a cluster.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="categoricalColumnNames">Keys, as of <c>MapValueToKey</c>: each becomes numbers that are learnt (an embedding), as many as 1.6 times its number of keys to the power of 0.56, at most 50. What is missing or was not seen when the keys were made has a row of its own.</param>
    /// <param name="options">The trainer's options; null: the defaults. FeatureColumnName is "" where there are categories alone.</param>
    /// <returns>A trainer whose transformer is a chain: it makes a vector of the columns, in one that is called DistributedNeuralNetwork.Inputs, and scores it.</returns>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    public static DistributedModuleTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>> DistributedNeuralNetwork(this RegressionCatalog.RegressionTrainers catalog, string[] categoricalColumnNames, DistributedRegressionTrainer.Options? options = null) =>
        OfRegression(catalog, options ?? new(), Categories(categoricalColumnNames));

    /// <summary>A neural network that ranks the rows of a group, of a features column and columns of categories, trained on a cluster.</summary>
    /// <param name="catalog">The catalog, <c>ml.Ranking.Trainers</c>.</param>
    /// <param name="categoricalColumnNames">Keys, as of <c>MapValueToKey</c>: each becomes numbers that are learnt (an embedding), as many as 1.6 times its number of keys to the power of 0.56, at most 50. What is missing or was not seen when the keys were made has a row of its own.</param>
    /// <param name="options">The trainer's options; null: the defaults. FeatureColumnName is "" where there are categories alone.</param>
    /// <returns>A trainer whose transformer is a chain: it makes a vector of the columns, in one that is called DistributedNeuralNetwork.Inputs, and scores it.</returns>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row cannot be trained on; the message names it.</exception>
    public static DistributedModuleTrainer<RankingPredictionTransformer<NeuralNetworkRankingModel>> DistributedNeuralNetwork(this RankingCatalog.RankingTrainers catalog, string[] categoricalColumnNames, DistributedRankingTrainer.Options? options = null) =>
        OfRanking(catalog, options ?? new(), Categories(categoricalColumnNames));

    internal static DistributedMulticlassTrainer OfModule(MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedMulticlassTrainer.Options options, NetworkModule? module)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedMulticlassTrainer(Environment(catalog), options, module);
    }

    internal static DistributedBinaryTrainer OfModule(BinaryClassificationCatalog.BinaryClassificationTrainers catalog, DistributedBinaryTrainer.Options options, NetworkModule? module)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedBinaryTrainer(Environment(catalog), options, module);
    }

    internal static DistributedRegressionTrainer OfModule(RegressionCatalog.RegressionTrainers catalog, DistributedRegressionTrainer.Options options, NetworkModule? module)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedRegressionTrainer(Environment(catalog), options, module);
    }

    internal static DistributedModuleTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> OfInputs(MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedMulticlassTrainer.Options options, OwnModule module, IReadOnlyList<string> inputs) =>
        OfMulticlass(catalog, options, new ModuleColumns(module, inputs));

    internal static DistributedModuleTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>> OfInputs(BinaryClassificationCatalog.BinaryClassificationTrainers catalog, DistributedBinaryTrainer.Options options, OwnModule module, IReadOnlyList<string> inputs) =>
        OfBinary(catalog, options, new ModuleColumns(module, inputs));

    internal static DistributedModuleTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>> OfInputs(RegressionCatalog.RegressionTrainers catalog, DistributedRegressionTrainer.Options options, OwnModule module, IReadOnlyList<string> inputs) =>
        OfRegression(catalog, options, new ModuleColumns(module, inputs));

    internal static DistributedOutputsTrainer OfOutputs(TransformsCatalog catalog, DistributedOutputsTrainer.Options options, OwnModule module, ModuleNames names)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        return new DistributedOutputsTrainer(CatalogUtils.GetEnvironment(catalog), options, module, names);
    }

    private static DistributedModuleTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> OfMulticlass(TrainCatalogBase.CatalogInstantiatorBase catalog, DistributedMulticlassTrainer.Options options, NetworkColumns columns) =>
        new(Environment(catalog), options, columns, (environment, own, m) => new DistributedMulticlassTrainer(environment, own, m));

    private static DistributedModuleTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>> OfBinary(TrainCatalogBase.CatalogInstantiatorBase catalog, DistributedBinaryTrainer.Options options, NetworkColumns columns) =>
        new(Environment(catalog), options, columns, (environment, own, m) => new DistributedBinaryTrainer(environment, own, m));

    private static DistributedModuleTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>> OfRegression(TrainCatalogBase.CatalogInstantiatorBase catalog, DistributedRegressionTrainer.Options options, NetworkColumns columns) =>
        new(Environment(catalog), options, columns, (environment, own, m) => new DistributedRegressionTrainer(environment, own, m));

    private static DistributedModuleTrainer<RankingPredictionTransformer<NeuralNetworkRankingModel>> OfRanking(TrainCatalogBase.CatalogInstantiatorBase catalog, DistributedRankingTrainer.Options options, NetworkColumns columns) =>
        new(Environment(catalog), options, columns, (environment, own, m) => new DistributedRankingTrainer(environment, own, m));

    private static CategoricalColumns Categories(string[] names)
    {
        ArgumentNullException.ThrowIfNull(names);
        return new CategoricalColumns([.. names]);
    }

    private static Runtime.IHostEnvironment Environment(TrainCatalogBase.CatalogInstantiatorBase catalog)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        return CatalogUtils.GetEnvironment(catalog);
    }

    private static TOptions Options<TOptions>(string label, string features, string? weight, int[]? hiddenLayers, int epochs, int? batchSize, double learningRate)
        where TOptions : NeuralNetworkOptions, new()
    {
        var options = new TOptions
        {
            LabelColumnName = label,
            FeatureColumnName = features,
            ExampleWeightColumnName = weight,
            Epochs = epochs,
            BatchSize = batchSize,
            LearningRate = learningRate,
        };
        if (hiddenLayers is not null)
            options.HiddenLayers = hiddenLayers;
        return options;
    }
}
