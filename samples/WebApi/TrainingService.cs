using System.Threading.Channels;
using Microsoft.ML;
using Microsoft.ML.Distributed;

namespace WebApi;

/// <summary>Trains at the start and whenever it is asked to, one training at a time; leaves at once when the host stops.</summary>
internal sealed class TrainingService(MLContext ml, DigitModel digits, ILogger<TrainingService> logger) : BackgroundService, IProgress<TrainingProgress>
{
    public const int DefaultEpochs = 30;
    private readonly Channel<int> _wanted = Channel.CreateUnbounded<int>();
    private int _isBusy;

    /// <summary>What GET /training shows.</summary>
    public TrainingStatus Status { get; private set; } = new("starting", 0, 0, 0, null, null);

    /// <returns>False: a training runs.</returns>
    public bool TryStart(int epochs) => Interlocked.Exchange(ref _isBusy, 1) == 0 && _wanted.Writer.TryWrite(epochs);

    /// <summary>Called by Fit, a few times a second.</summary>
    public void Report(TrainingProgress value) => Status = Status with
    {
        State = value.State.ToString().ToLowerInvariant(),
        Epoch = value.Epoch,
        Epochs = value.Epochs,
        Fraction = value.Fraction,
        Loss = double.IsFinite(value.Loss) ? value.Loss : null, // JSON has no NaN
    };

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        TryStart(DefaultEpochs);
        await foreach (var epochs in _wanted.Reader.ReadAllAsync(stoppingToken))
        {
            try
            {
                // Fit blocks its thread; the host's token ends it within a moment, on the cluster too.
                await Task.Run(() => Train(epochs, stoppingToken), stoppingToken);
            }
            catch (Exception e) when (e is ClusterException or TrainingFailedException)
            {
                logger.LogError(e, "The training failed; the model before stays in use");
                Status = Status with { State = "failed" };
            }

            Volatile.Write(ref _isBusy, 0);
        }
    }

    private void Train(int epochs, CancellationToken cancellation)
    {
        var data = ml.Data.LoadFromTextFile<Digit>(Path.Combine(AppContext.BaseDirectory, "digits.csv"), separatorChar: ',');
        var split = ml.Data.TrainTestSplit(data, testFraction: 0.2, seed: 1);
        var pipeline = ml.Transforms.Conversion.MapValueToKey("Label", nameof(Digit.Number))
            .Append(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
            {
                FeatureColumnName = nameof(Digit.Pixels),
                Epochs = epochs,
                Progress = this,
                CancellationToken = cancellation,
            }))
            .Append(ml.Transforms.Conversion.MapKeyToValue("PredictedLabel"));

        var model = pipeline.Fit(split.TrainSet);

        var accuracy = ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy;
        digits.Publish(model);
        Status = Status with { Accuracy = accuracy };
        logger.LogInformation("A new model is in use, micro accuracy {Accuracy:F4}", accuracy);
    }
}

/// <param name="State">"running" while it trains, "succeeded" once a model is ready.</param>
/// <param name="Epoch">The epoch in work, from 1.</param>
/// <param name="Epochs">Epochs asked for.</param>
/// <param name="Fraction">The part that is done, 0 to 1.</param>
/// <param name="Loss">The last step's; null before the first.</param>
/// <param name="Accuracy">Of the model in use, on rows that it was not trained on; null before the first.</param>
internal sealed record TrainingStatus(string State, int Epoch, int Epochs, double Fraction, double? Loss, double? Accuracy);
