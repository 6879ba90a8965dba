using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;

var builder = Host.CreateApplicationBuilder(args);
builder.Services.AddHostedService<Trainer>();
await builder.Build().RunAsync();

/// <summary>Trains for longer than anybody waits, until the host stops.</summary>
internal sealed class Trainer : BackgroundService
{
    protected override Task ExecuteAsync(CancellationToken stoppingToken) => Task.Run(() =>
    {
        var ml = new MLContext(seed: 1);
        var data = ml.Data.LoadFromEnumerable(Enumerable.Range(0, 400).Select(i => new Row { Label = i % 3, Features = [i % 3, i % 5] }));
        try
        {
            ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { Epochs = 1_000_000, CancellationToken = stoppingToken, Progress = new Teller() }).Fit(data);
        }
        catch (OperationCanceledException)
        {
            Console.WriteLine("Fit was cancelled");
        }
    }, CancellationToken.None);
}

internal sealed class Teller : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => Console.WriteLine($"{value.State}, epoch {value.Epoch}");
}

internal sealed class Row
{
    public float Label { get; set; }

    [VectorType(2)]
    public float[] Features { get; set; } = [];
}
