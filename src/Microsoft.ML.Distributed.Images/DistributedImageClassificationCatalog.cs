using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace Microsoft.ML;

/// <summary>Adds the distributed trainers of images to ML.NET's catalogs.</summary>
public static class DistributedImageClassificationCatalog
{
    /// <summary>A convolutional network that tells images apart, trained on a cluster: <see cref="DistributedImageClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a key.</param>
    /// <param name="featureColumnName">The column of images: MLImage, the bytes of a file as a vector of Byte, or its path as text.</param>
    /// <param name="scoreColumnName">The column of each class's probability: "Score", as <see cref="DistributedImageClassificationTrainer.Options.ScoreColumnName"/> says.</param>
    /// <param name="predictedLabelColumnName">The column of the likeliest class, a key.</param>
    /// <param name="validationSet">Rows for validation; null: see <see cref="NeuralNetworkOptions.ValidationFraction"/>.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: an image cannot be read; the message names it and its row.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Conversion.MapValueToKey("Label")
    ///     .Append(ml.MulticlassClassification.Trainers.DistributedImageClassification(featureColumnName: "ImagePath"))
    ///     .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));
    /// ITransformer model = pipeline.Fit(trainingData);
    /// </code></example>
    public static DistributedImageClassificationTrainer DistributedImageClassification(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        string scoreColumnName = DefaultColumnNames.Score,
        string predictedLabelColumnName = DefaultColumnNames.PredictedLabel,
        IDataView? validationSet = null) =>
        DistributedImageClassification(catalog, new DistributedImageClassificationTrainer.Options
        {
            LabelColumnName = labelColumnName,
            FeatureColumnName = featureColumnName,
            ScoreColumnName = scoreColumnName,
            PredictedLabelColumnName = predictedLabelColumnName,
            ValidationSet = validationSet,
        });

    /// <summary>A convolutional network that tells images apart, trained on a cluster, with all options: <see cref="DistributedImageClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.MulticlassClassification.Trainers.DistributedImageClassification(new DistributedImageClassificationTrainer.Options
    /// {
    ///     FeatureColumnName = "Image",
    ///     ImageHeight = 32,
    ///     Augmentation = new ImageAugmentation { Shift = 4, Flip = 0.5 },
    ///     ValidationFraction = 0.1,
    /// });
    /// </code></example>
    public static DistributedImageClassificationTrainer DistributedImageClassification(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedImageClassificationTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedImageClassificationTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }

    /// <summary>A convolutional network that answers yes or no to images, trained on a cluster: <see cref="DistributedBinaryImageClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a Boolean.</param>
    /// <param name="featureColumnName">The column of images: MLImage, the bytes of a file as a vector of Byte, or its path as text.</param>
    /// <param name="validationSet">Rows for validation; null: see <see cref="NeuralNetworkOptions.ValidationFraction"/>.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: an image cannot be read; the message names it and its row.</exception>
    /// <example><code>
    /// ITransformer model = ml.BinaryClassification.Trainers.DistributedImageClassification("IsDamaged", "ImagePath").Fit(trainingData);
    /// </code></example>
    public static DistributedBinaryImageClassificationTrainer DistributedImageClassification(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string featureColumnName = DefaultColumnNames.Features,
        IDataView? validationSet = null) =>
        DistributedImageClassification(catalog, new DistributedBinaryImageClassificationTrainer.Options { LabelColumnName = labelColumnName, FeatureColumnName = featureColumnName, ValidationSet = validationSet });

    /// <summary>A convolutional network that answers yes or no to images, trained on a cluster, with all options: <see cref="DistributedBinaryImageClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    public static DistributedBinaryImageClassificationTrainer DistributedImageClassification(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, DistributedBinaryImageClassificationTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedBinaryImageClassificationTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }
}
