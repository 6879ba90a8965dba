using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using static TorchSharp.torch;

namespace Microsoft.ML;

/// <summary>Adds modules of your own to ML.NET's catalogs of trainers.</summary>
public static class DistributedTorchModuleCatalog
{
    /// <summary>A TorchSharp module of your own that tells classes apart, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from [rows, features] to [rows, classes], a number for each class without softmax. It has a public constructor with no parameter, or with one.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, or the argument cannot travel.</exception>
    /// <example><code>
    /// public sealed record MyNetOptions(int Inputs, int Classes, int Width = 64);
    ///
    /// public sealed class MyNet : nn.Module&lt;Tensor, Tensor&gt;
    /// {
    ///     private readonly Module&lt;Tensor, Tensor&gt; layers;
    ///
    ///     public MyNet(MyNetOptions o) : base(nameof(MyNet))
    ///     {
    ///         layers = nn.Sequential(nn.Linear(o.Inputs, o.Width), nn.BatchNorm1d(o.Width), nn.ReLU(), nn.Linear(o.Width, o.Classes));
    ///         RegisterComponents();
    ///     }
    ///
    ///     public override Tensor forward(Tensor x) => layers.call(x);
    /// }
    ///
    /// var trainer = ml.MulticlassClassification.Trainers.DistributedTorchModule&lt;MyNet&gt;(new MyNetOptions(64, 10));
    /// </code></example>
    public static DistributedMulticlassTrainer DistributedTorchModule<TModule>(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, object? moduleOptions = null, DistributedMulticlassTrainer.Options? options = null)
        where TModule : nn.Module<Tensor, Tensor> =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions));

    /// <summary>A TorchSharp module of your own that answers yes or no, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from [rows, features] to [rows, 1], the logit, without sigmoid. It has a public constructor with no parameter, or with one.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, or the argument cannot travel.</exception>
    public static DistributedBinaryTrainer DistributedTorchModule<TModule>(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, object? moduleOptions = null, DistributedBinaryTrainer.Options? options = null)
        where TModule : nn.Module<Tensor, Tensor> =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions));

    /// <summary>A TorchSharp module of your own that predicts a number, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from [rows, features] to [rows, 1], the value in standard deviations from the labels' mean. It has a public constructor with no parameter, or with one.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, or the argument cannot travel.</exception>
    public static DistributedRegressionTrainer DistributedTorchModule<TModule>(
        this RegressionCatalog.RegressionTrainers catalog, object? moduleOptions = null, DistributedRegressionTrainer.Options? options = null)
        where TModule : nn.Module<Tensor, Tensor> =>
        DistributedNeuralNetworkCatalog.OfModule(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions));

    /// <summary>A TorchSharp module of your own with several columns as its inputs that tells classes apart, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from its inputs to [rows, classes], a number for each class without softmax. It has a public constructor with no parameter, or with one.</typeparam>
    /// <typeparam name="TInputs">A record of tensors, each [rows, size]: of the column that is called as it. A column of Single is Float32, standardised unless NormalizeFeatures is false; one of keys is Int64, from 1 to their number, and 0 where there is none. Its size is 1, or that of a vector.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network and FeatureColumnName; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep{TInputs, TLabels}"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, the argument cannot travel, or the inputs are no record of tensors.</exception>
    public static DistributedModuleTrainer<MulticlassPredictionTransformer<NeuralNetworkMulticlassModel>> DistributedTorchModule<TModule, TInputs>(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, object? moduleOptions = null, DistributedMulticlassTrainer.Options? options = null)
        where TModule : nn.Module<TInputs, Tensor> =>
        DistributedNeuralNetworkCatalog.OfInputs(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions), ModuleDescription.InputsOf(typeof(TInputs)));

    /// <summary>A TorchSharp module of your own with several columns as its inputs that answers yes or no, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from its inputs to [rows, 1], the logit, without sigmoid. It has a public constructor with no parameter, or with one.</typeparam>
    /// <typeparam name="TInputs">A record of tensors, each [rows, size]: of the column that is called as it. A column of Single is Float32, standardised unless NormalizeFeatures is false; one of keys is Int64, from 1 to their number, and 0 where there is none. Its size is 1, or that of a vector.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network and FeatureColumnName; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep{TInputs, TLabels}"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, the argument cannot travel, or the inputs are no record of tensors.</exception>
    public static DistributedModuleTrainer<BinaryPredictionTransformer<NeuralNetworkBinaryModel>> DistributedTorchModule<TModule, TInputs>(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, object? moduleOptions = null, DistributedBinaryTrainer.Options? options = null)
        where TModule : nn.Module<TInputs, Tensor> =>
        DistributedNeuralNetworkCatalog.OfInputs(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions), ModuleDescription.InputsOf(typeof(TInputs)));

    /// <summary>A TorchSharp module of your own with several columns as its inputs that predicts a number, trained on a cluster.</summary>
    /// <typeparam name="TModule">The module: from its inputs to [rows, 1], the value in standard deviations from the labels' mean. It has a public constructor with no parameter, or with one.</typeparam>
    /// <typeparam name="TInputs">A record of tensors, each [rows, size]: of the column that is called as it. A column of Single is Float32, standardised unless NormalizeFeatures is false; one of keys is Int64, from 1 to their number, and 0 where there is none. Its size is 1, or that of a vector.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network and FeatureColumnName; null: the defaults.</param>
    /// <returns>A trainer whose model saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say itself how it is trained: <see cref="IParameterGroups"/>, <see cref="IModuleLoss"/>, <see cref="ITrainingStep{TInputs, TLabels}"/>, <see cref="IModuleMetrics"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, the argument cannot travel, or the inputs are no record of tensors.</exception>
    /// <example><code>
    /// public sealed record Visit(Tensor User, Tensor Item, Tensor Prices);
    ///
    /// public sealed class Rating : nn.Module&lt;Visit, Tensor&gt;
    /// {
    ///     private readonly Embedding users, items;
    ///     private readonly Linear prices;
    ///
    ///     public Rating(RatingOptions o) : base(nameof(Rating))
    ///     {
    ///         users = nn.Embedding(o.Users + 1, 16);   // a row for each key, and one for none
    ///         items = nn.Embedding(o.Items + 1, 16);
    ///         prices = nn.Linear(o.Prices, 16);
    ///         RegisterComponents();
    ///     }
    ///
    ///     public override Tensor forward(Visit visit) =>
    ///         (users.call(visit.User).flatten(1) * (items.call(visit.Item).flatten(1) + prices.call(visit.Prices))).sum(1, keepdim: true);
    /// }
    ///
    /// var trainer = ml.Regression.Trainers.DistributedTorchModule&lt;Rating, Visit&gt;(new RatingOptions(Users: 943, Items: 1682, Prices: 2));
    /// </code></example>
    public static DistributedModuleTrainer<RegressionPredictionTransformer<NeuralNetworkRegressionModel>> DistributedTorchModule<TModule, TInputs>(
        this RegressionCatalog.RegressionTrainers catalog, object? moduleOptions = null, DistributedRegressionTrainer.Options? options = null)
        where TModule : nn.Module<TInputs, Tensor> =>
        DistributedNeuralNetworkCatalog.OfInputs(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions), ModuleDescription.InputsOf(typeof(TInputs)));

    /// <summary>A TorchSharp module of your own whose inputs and outputs are columns, trained by a loss of its own on a cluster.</summary>
    /// <typeparam name="TModule">The module: from its inputs to its outputs, with the loss that it is trained by. It has a public constructor with no parameter, or with one.</typeparam>
    /// <typeparam name="TInputs">A record of tensors, each [rows, size]: of the column that is called as it. A column of Single is Float32, standardised unless NormalizeFeatures is false; one of keys is Int64, from 1 to their number, and 0 where there is none. Its size is 1, or that of a vector.</typeparam>
    /// <typeparam name="TOutputs">A record of tensors, each [rows, size] of Float32: a column that is called as it, or as the options say, a vector of Single.</typeparam>
    /// <typeparam name="TLabels">A record of tensors, each [rows, size]: of the column that is called as it, as it is; the model that scores does not need it. It may be that of an input.</typeparam>
    /// <param name="catalog">The catalog, <c>ml.Transforms</c>.</param>
    /// <param name="moduleOptions">The constructor's argument, which travels as JSON: public properties and fields; null: it takes none.</param>
    /// <param name="options">The trainer's options, but for those of the built-in network, StartFrom and the columns of features and labels; null: the defaults.</param>
    /// <returns>An estimator whose transformer saves, loads and scores without libtorch.</returns>
    /// <remarks>The module may say more of how it is trained: <see cref="IParameterGroups"/>, <see cref="ITrainingStep{TInputs, TLabels}"/>, <see cref="IModuleMetrics{TOutputs, TLabels}"/>.</remarks>
    /// <exception cref="ArgumentException">The module has no such constructor, the argument cannot travel, or inputs, outputs or labels are no record of tensors.</exception>
    /// <example><code>
    /// public sealed record Visit(Tensor User, Tensor Prices);
    /// public sealed record Forecast(Tensor Amount, Tensor Taste);
    /// public sealed record Bought(Tensor Paid);
    ///
    /// public sealed class Shop : nn.Module&lt;Visit, Forecast&gt;, IModuleLoss&lt;Forecast, Bought&gt;
    /// {
    ///     // ...
    ///     public override Forecast forward(Visit visit)
    ///     {
    ///         var taste = users.call(visit.User).flatten(1);
    ///         return new(head.call(cat([taste, visit.Prices], 1)), taste);
    ///     }
    ///
    ///     public Tensor Loss(Forecast outputs, Bought labels, Tensor weights) => (outputs.Amount - labels.Paid).square();
    /// }
    ///
    /// var estimator = ml.Transforms.DistributedTorchModule&lt;Shop, Visit, Forecast, Bought&gt;(new ShopOptions(Users: 943));
    /// </code></example>
    public static DistributedOutputsTrainer DistributedTorchModule<TModule, TInputs, TOutputs, TLabels>(
        this TransformsCatalog catalog, object? moduleOptions = null, DistributedOutputsTrainer.Options? options = null)
        where TModule : nn.Module<TInputs, TOutputs>, IModuleLoss<TOutputs, TLabels> =>
        DistributedNeuralNetworkCatalog.OfOutputs(catalog, options ?? new(), ModuleDescription.Of(typeof(TModule), moduleOptions), ModuleDescription.NamesOf(typeof(TInputs), typeof(TOutputs), typeof(TLabels)));
}
