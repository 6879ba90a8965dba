using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

namespace Microsoft.ML;

/// <summary>Adds encoders of texts to ML.NET's catalogs of trainers. Names and defaults are those of Microsoft.ML.TorchSharp.</summary>
public static class DistributedTextCatalog
{
    /// <summary>Tells classes of texts, or of pairs of texts, apart: <see cref="DistributedTextClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a key.</param>
    /// <param name="scoreColumnName">The output column of the classes' probabilities.</param>
    /// <param name="outputColumnName">The output column of predicted labels, keys.</param>
    /// <param name="sentence1ColumnName">The column of texts.</param>
    /// <param name="sentence2ColumnName">The column of second texts; null: there is none.</param>
    /// <param name="batchSize">Rows a step, over all ranks together.</param>
    /// <param name="maxEpochs">Passes over the training rows.</param>
    /// <param name="validationSet">Rows for validation, whose least loss decides which epoch's weights the model has; null: none.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Conversion.MapValueToKey("Label")
    ///     .Append(ml.MulticlassClassification.Trainers.DistributedTextClassification(sentence1ColumnName: "Comment"))
    ///     .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));
    /// ITransformer model = pipeline.Fit(comments);
    /// </code></example>
    public static DistributedTextClassificationTrainer DistributedTextClassification(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string scoreColumnName = DefaultColumnNames.Score,
        string outputColumnName = DefaultColumnNames.PredictedLabel,
        string sentence1ColumnName = "Sentence1",
        string? sentence2ColumnName = null,
        int batchSize = TextOptions.DefaultBatchSize,
        int maxEpochs = TextOptions.DefaultEpochs,
        IDataView? validationSet = null) => DistributedTextClassification(catalog, new DistributedTextClassificationTrainer.Options
        {
            ScoreColumnName = scoreColumnName,
            OutputColumnName = outputColumnName,
            Sentence1ColumnName = sentence1ColumnName,
            Sentence2ColumnName = sentence2ColumnName,
            Training = { LabelColumnName = labelColumnName, BatchSize = batchSize, Epochs = maxEpochs, ValidationSet = validationSet },
        });

    /// <summary>Tells classes of texts, or of pairs of texts, apart, with all options: <see cref="DistributedTextClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    /// <example><code>
    /// var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options
    /// {
    ///     Sentence1ColumnName = "Comment",
    ///     Weights = TextWeights.FromHuggingFace("bert-base-uncased"),
    ///     Adapter = new LowRankAdapter { Rank = 8 },
    ///     Training = { Epochs = 3, MaxRanks = 2 },
    /// });
    /// </code></example>
    public static DistributedTextClassificationTrainer DistributedTextClassification(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedTextClassificationTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedTextClassificationTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }

    /// <summary>Answers yes or no to texts, or to pairs of texts: <see cref="DistributedBinaryTextClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a Boolean.</param>
    /// <param name="scoreColumnName">The output column of logits.</param>
    /// <param name="outputColumnName">The output column of predicted labels, Booleans. Beside it is "Probability".</param>
    /// <param name="sentence1ColumnName">The column of texts.</param>
    /// <param name="sentence2ColumnName">The column of second texts; null: there is none.</param>
    /// <param name="batchSize">Rows a step, over all ranks together.</param>
    /// <param name="maxEpochs">Passes over the training rows.</param>
    /// <param name="validationSet">Rows for validation, whose least loss decides which epoch's weights the model has; null: none.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <example><code>
    /// ITransformer model = ml.BinaryClassification.Trainers.DistributedTextClassification("IsToxic", sentence1ColumnName: "Comment").Fit(comments);
    /// </code></example>
    public static DistributedBinaryTextClassificationTrainer DistributedTextClassification(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string scoreColumnName = DefaultColumnNames.Score,
        string outputColumnName = DefaultColumnNames.PredictedLabel,
        string sentence1ColumnName = "Sentence1",
        string? sentence2ColumnName = null,
        int batchSize = TextOptions.DefaultBatchSize,
        int maxEpochs = TextOptions.DefaultEpochs,
        IDataView? validationSet = null) => DistributedTextClassification(catalog, new DistributedBinaryTextClassificationTrainer.Options
        {
            ScoreColumnName = scoreColumnName,
            OutputColumnName = outputColumnName,
            Sentence1ColumnName = sentence1ColumnName,
            Sentence2ColumnName = sentence2ColumnName,
            Training = { LabelColumnName = labelColumnName, BatchSize = batchSize, Epochs = maxEpochs, ValidationSet = validationSet },
        });

    /// <summary>Answers yes or no to texts, or to pairs of texts, with all options: <see cref="DistributedBinaryTextClassificationTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.BinaryClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    public static DistributedBinaryTextClassificationTrainer DistributedTextClassification(
        this BinaryClassificationCatalog.BinaryClassificationTrainers catalog, DistributedBinaryTextClassificationTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedBinaryTextClassificationTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }

    /// <summary>Tells what each word of a text is, as a person or a place: <see cref="DistributedNamedEntityRecognitionTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a vector of keys, one for each word; a missing key is a word of nothing.</param>
    /// <param name="outputColumnName">The output column of predicted labels, a vector of keys, one for each word.</param>
    /// <param name="sentence1ColumnName">The column of texts. Words are what is between white space.</param>
    /// <param name="batchSize">Rows a step, over all ranks together.</param>
    /// <param name="maxEpochs">Passes over the training rows.</param>
    /// <param name="validationSet">Rows for validation, whose least loss decides which epoch's weights the model has; null: none.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <exception cref="InvalidDataException">From <c>Fit</c>: a row has another number of labels than of words; the message names it.</exception>
    /// <example><code>
    /// var pipeline = ml.Transforms.Conversion.MapValueToKey("Label")
    ///     .Append(ml.MulticlassClassification.Trainers.DistributedNamedEntityRecognition(sentence1ColumnName: "Sentence"))
    ///     .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));
    /// ITransformer model = pipeline.Fit(sentences);
    /// </code></example>
    public static DistributedNamedEntityRecognitionTrainer DistributedNamedEntityRecognition(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string outputColumnName = DefaultColumnNames.PredictedLabel,
        string sentence1ColumnName = "Sentence",
        int batchSize = TextOptions.DefaultBatchSize,
        int maxEpochs = TextOptions.DefaultEpochs,
        IDataView? validationSet = null) => DistributedNamedEntityRecognition(catalog, new DistributedNamedEntityRecognitionTrainer.Options
        {
            OutputColumnName = outputColumnName,
            Sentence1ColumnName = sentence1ColumnName,
            Training = { LabelColumnName = labelColumnName, BatchSize = batchSize, Epochs = maxEpochs, ValidationSet = validationSet },
        });

    /// <summary>Tells what each word of a text is, with all options: <see cref="DistributedNamedEntityRecognitionTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.MulticlassClassification.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    public static DistributedNamedEntityRecognitionTrainer DistributedNamedEntityRecognition(
        this MulticlassClassificationCatalog.MulticlassClassificationTrainers catalog, DistributedNamedEntityRecognitionTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedNamedEntityRecognitionTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }

    /// <summary>Predicts a number for a pair of texts, such as how much they say the same: <see cref="DistributedSentenceSimilarityTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="labelColumnName">The label column: a Single.</param>
    /// <param name="scoreColumnName">The output column.</param>
    /// <param name="sentence1ColumnName">The column of texts.</param>
    /// <param name="sentence2ColumnName">The column of second texts.</param>
    /// <param name="batchSize">Rows a step, over all ranks together.</param>
    /// <param name="maxEpochs">Passes over the training rows.</param>
    /// <param name="validationSet">Rows for validation, whose least loss decides which epoch's weights the model has; null: none.</param>
    /// <exception cref="ArgumentException">From <c>Fit</c>: columns or options are wrong; the message lists all that is.</exception>
    /// <example><code>
    /// var trainer = ml.Regression.Trainers.DistributedSentenceSimilarity(labelColumnName: "Relevance", sentence1ColumnName: "Query", sentence2ColumnName: "Title");
    /// </code></example>
    public static DistributedSentenceSimilarityTrainer DistributedSentenceSimilarity(
        this RegressionCatalog.RegressionTrainers catalog,
        string labelColumnName = DefaultColumnNames.Label,
        string scoreColumnName = DefaultColumnNames.Score,
        string sentence1ColumnName = "Sentence1",
        string sentence2ColumnName = "Sentence2",
        int batchSize = TextOptions.DefaultBatchSize,
        int maxEpochs = TextOptions.DefaultEpochs,
        IDataView? validationSet = null) => DistributedSentenceSimilarity(catalog, new DistributedSentenceSimilarityTrainer.Options
        {
            ScoreColumnName = scoreColumnName,
            Sentence1ColumnName = sentence1ColumnName,
            Sentence2ColumnName = sentence2ColumnName,
            Training = { LabelColumnName = labelColumnName, BatchSize = batchSize, Epochs = maxEpochs, ValidationSet = validationSet },
        });

    /// <summary>Predicts a number for a text or a pair of texts, with all options: <see cref="DistributedSentenceSimilarityTrainer"/>.</summary>
    /// <param name="catalog">The catalog, <c>ml.Regression.Trainers</c>.</param>
    /// <param name="options">The options; they are checked, all at once, when <c>Fit</c> starts.</param>
    public static DistributedSentenceSimilarityTrainer DistributedSentenceSimilarity(
        this RegressionCatalog.RegressionTrainers catalog, DistributedSentenceSimilarityTrainer.Options options)
    {
        ArgumentNullException.ThrowIfNull(catalog);
        ArgumentNullException.ThrowIfNull(options);
        return new DistributedSentenceSimilarityTrainer(CatalogUtils.GetEnvironment(catalog), options);
    }
}
