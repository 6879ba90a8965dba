using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using Microsoft.ML.Transforms.Image;

namespace Microsoft.ML.Distributed;

/// <summary>What all trainers of images share: they make pixels of the images, and train a convolutional network of them on a cluster.</summary>
/// <typeparam name="TTransformer">ML.NET's prediction transformer for the task.</typeparam>
public abstract class DistributedImageTrainer<TTransformer> : IEstimator<TransformerChain<TTransformer>>, IDistributedTrainer
    where TTransformer : class, ITransformer
{
    private const string Suffix = ".Pixels";
    private readonly IHostEnvironment _environment;
    private readonly ImageOptions _options;
    private readonly string _images;

    private protected DistributedImageTrainer(IHostEnvironment environment, ImageOptions options)
    {
        _images = options.FeatureColumnName;
        (_environment, _options) = (environment, (ImageOptions)options.Copy());
        _options.FeatureColumnName = string.IsNullOrEmpty(_images) ? "" : _images + Suffix;
        _options.NormalizeFeatures = false; // channels are, in the network
        if (_options.LearningRate == 0)
            _options.LearningRate = _options.AutomaticRate;
        if (_options is { WeightDecay: null, Optimizer: AdamWOptimizer })
            _options.WeightDecay = ImageOptions.DefaultWeightDecay;
        if (_options.MetricsCallback is { } callback)
            _options.Progress = new Told(callback, _options.Progress);
        // At once, as other trainers refuse names.
        _ = Trainer(_options);
    }

    private protected abstract INetworkTrainer<TTransformer> MakeTrainer(IHostEnvironment environment, ImageOptions options, ImageNetworkModule network);

    /// <summary>What the likeliest class is called.</summary>
    private protected virtual string PredictedLabel(ImageOptions options) => DefaultColumnNames.PredictedLabel;

    private ImagePixelsTransformer Pixels => new(_environment, _options.FeatureColumnName, _images, new PixelSize(Math.Max(1, _options.Size.Height), Math.Max(1, _options.Size.Width), _options.Channels == 1 ? 1 : 3, _options.Resizing), _options.ImageFolder);

    /// <summary>Trains a network on a cluster and returns what scores images with it.</summary>
    /// <param name="input">The training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is. No data was read.</exception>
    /// <exception cref="InvalidDataException">An image cannot be read, or a row not be trained on; the message names it.</exception>
    /// <exception cref="OperationCanceledException">The options' token was cancelled.</exception>
    public TransformerChain<TTransformer> Fit(IDataView input)
    {
        ArgumentNullException.ThrowIfNull(input);
        return Prepare(input).Fit();
    }

    string IDistributedTrainer.Submit(TrainingCluster cluster, IDataView input, CancellationToken cancellation) => Prepare(input).Submit(cluster, cancellation);

    /// <summary>The schema after this trainer's transformer.</summary>
    /// <param name="inputSchema">The schema of the training data.</param>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is.</exception>
    public SchemaShape GetOutputSchema(SchemaShape inputSchema)
    {
        ArgumentNullException.ThrowIfNull(inputSchema);
        CheckImages(inputSchema, "");
        var pixels = new SchemaShape.Column(_options.FeatureColumnName, SchemaShape.Column.VectorKind.Vector, NumberDataViewType.Single, false);
        return Trainer(_options).GetOutputSchema(new SchemaShape(inputSchema.Where(c => c.Name != pixels.Name).Append(pixels)));
    }

    private FramedTraining<TTransformer> Prepare(IDataView input)
    {
        CheckImages(SchemaShape.Create(input.Schema), "");
        var pixels = Pixels;
        var options = (ImageOptions)_options.Copy();
        if (options.ValidationSet is { } validation)
        {
            CheckImages(SchemaShape.Create(validation.Schema), "Validation set: ");
            options.ValidationSet = pixels.Transform(validation);
        }

        return new(Trainer(options), new PredictionFrame(_environment, pixels) { PredictedLabel = PredictedLabel(options) }, pixels.Transform(input));
    }

    private INetworkTrainer<TTransformer> Trainer(ImageOptions options) => MakeTrainer(_environment, options, new ImageNetworkModule(options));

    private void CheckImages(SchemaShape schema, string subject)
    {
        if (!schema.TryFindColumn(_images, out var column))
            throw new ArgumentException($"{subject}Feature column \"{_images}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}; expected images. Name another column or add it.");
        var isVector = column.Kind != SchemaShape.Column.VectorKind.Scalar;
        if (column.IsKey || (isVector ? column.ItemType != NumberDataViewType.Byte : column.ItemType is not (ImageDataViewType or TextDataViewType)))
            throw new ArgumentException(subject + ImagePixelsTransformer.Refusal(_images, isVector ? $"a vector of {column.ItemType}" : $"a {column.ItemType}"));
    }

    private sealed class Told(Action<TrainingProgress> callback, IProgress<TrainingProgress>? other) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value)
        {
            callback(value);
            other?.Report(value);
        }
    }
}
