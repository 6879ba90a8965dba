// An app that trains on a cluster, for tests that kill it: TrainingApp COORDINATOR KEY cancel|finish|submit EPOCHS
using Microsoft.ML;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

var ml = new MLContext(1);
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

internal sealed class Teller : IProgress<TrainingProgress>
{
    public void Report(TrainingProgress value) => Console.WriteLine($"epoch {value.Epoch}");
}
