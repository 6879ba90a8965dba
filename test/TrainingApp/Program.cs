// An app that trains on a cluster, for tests that kill it: TrainingApp COORDINATOR KEY cancel|finish|submit EPOCHS
// or on one of its own, and leaves in the middle: TrainingApp leave
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

var ml = new MLContext(1);
if (args[0] == "leave")
{
    var running = new TaskCompletionSource();
    var options = new DistributedMulticlassTrainer.Options { Epochs = 1_000_000, Progress = new Teller(running) };
    foreach (var call in (Action<IDataView>[])[d => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).Fit(d), d => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(options).FindLearningRate(d, 1e-9, 1e-8, 100_000)])
        new Thread(() => call(DataSets.Digits(ml))) { IsBackground = true }.Start();
    await running.Task;
    return 3;
}

using var cluster = TrainingCluster.Connect(new Uri(args[0]), args[1]);
ml.UseCluster(cluster);
var trainer = ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(new DistributedMulticlassTrainer.Options
{
    Epochs = int.Parse(args[3], System.Globalization.CultureInfo.InvariantCulture),
    OnDisconnect = args[2] == "finish" ? DisconnectBehavior.Finish : DisconnectBehavior.Cancel,
    Progress = new Teller(),
});
if (args[2] == "submit")
{
    Console.WriteLine($"submitted {await cluster.SubmitAsync(trainer, DataSets.Digits(ml))}");
    await Task.Delay(Timeout.InfiniteTimeSpan); // until it is killed
}

trainer.Fit(DataSets.Digits(ml));
Console.WriteLine("done");
return 0;

internal sealed class Teller(TaskCompletionSource? running = null) : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value)
    {
        Console.WriteLine($"epoch {value.Epoch}");
        if (value.Epoch > 0)
            running?.TrySetResult();
    }
}
