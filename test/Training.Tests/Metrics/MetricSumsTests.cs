using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Metrics;

/// <summary>Beside the definitions, row by row and pair by pair.</summary>
[TestClass]
public sealed class MetricSumsTests
{
    private const int Rows = 500;

    [TestMethod, DataRow(false), DataRow(true)]
    public void Values_Multiclass_AreTheSharesOfRowsAndTheMeanOfTheClasses(bool isWeighted)
    {
        const int classes = 4; // of which the last has no row
        var (random, weights) = Draw(isWeighted);
        var logits = Numbers(random, Rows * classes);
        var labels = Array.ConvertAll(Numbers(random, Rows), x => (long)Math.Clamp(x + 1.5, 0, classes - 2));
        bool IsRight(int row) => Enumerable.Range(0, classes).MaxBy(c => logits[row * classes + c]) == labels[row];
        double Share(IEnumerable<int> rows) => rows.Where(IsRight).Sum(r => (double)weights[r]) / rows.Sum(r => (double)weights[r]);
        var all = Enumerable.Range(0, Rows).ToList();

        var values = Values(
            Cluster.Spec(s => s.Module.Mlp.OutputSize = classes),
            rows => tensor(logits[(rows.Start.Value * classes)..(rows.End.Value * classes)]).view(-1, classes), rows => tensor(labels[rows]), isWeighted ? weights : null);

        Assert.AreEqual(Share(all), values[0], 1e-6);
        Assert.AreEqual(all.GroupBy(r => labels[r]).Average(Share), values[1], 1e-6);
    }

    [TestMethod, DataRow(false), DataRow(true)]
    public void Values_Binary_AreAccuracyAndThePairsInOrderAndF1(bool isWeighted)
    {
        var (random, weights) = Draw(isWeighted);
        // A few beyond the histogram.
        var logits = Array.ConvertAll(Numbers(random, Rows), x => x * 9);
        var labels = Array.ConvertAll(logits, x => x + 9 * Numbers(random, 1)[0] > 5 ? 1f : 0f);
        var (positives, negatives) = (Where(1), Where(0));
        double Sum(IEnumerable<int> rows) => rows.Sum(r => (double)weights[r]);
        var pairs = positives.Sum(p => negatives.Sum(n => weights[p] * (double)weights[n] * (logits[p] > logits[n] ? 1 : logits[p] == logits[n] ? 0.5 : 0)));
        var (hits, errors) = (Sum(positives.Where(r => logits[r] > 0)), Sum(positives.Where(r => logits[r] <= 0)) + Sum(negatives.Where(r => logits[r] > 0)));

        var values = Values(Cluster.Spec(s => s.Task = MlTask.Binary), rows => tensor(logits[rows]).view(-1, 1), rows => tensor(labels[rows]), isWeighted ? weights : null);

        Assert.AreEqual(1 - errors / Sum(Enumerable.Range(0, Rows)), values[0], 1e-6);
        Assert.AreEqual(pairs / (Sum(positives) * Sum(negatives)), values[1], 1e-3);
        Assert.AreEqual(2 * hits / (2 * hits + errors), values[2], 1e-6);

        List<int> Where(float label) => [.. Enumerable.Range(0, Rows).Where(r => labels[r] == label)];
    }

    [TestMethod]
    public void Values_BinaryOfOneClass_HaveNoCurve()
    {
        var values = Values(Cluster.Spec(s => s.Task = MlTask.Binary), rows => ones(rows.End.Value - rows.Start.Value, 1), rows => ones(rows.End.Value - rows.Start.Value), null);

        CollectionAssert.AreEqual(new[] { 1, double.NaN, 1 }, values);
    }

    [TestMethod, DataRow(false), DataRow(true)]
    public void Values_Regression_AreInTheLabelsUnit(bool isWeighted)
    {
        const float scale = 0.25f;
        var (random, weights) = Draw(isWeighted);
        var labels = Numbers(random, Rows);
        var outputs = Array.ConvertAll(labels, y => y + Numbers(random, 1)[0] / 3);
        double Mean(Func<int, double> value) => Enumerable.Range(0, Rows).Sum(r => weights[r] * value(r)) / weights.Sum(w => (double)w);
        var (mean, squares) = (Mean(r => labels[r]), Mean(r => Math.Pow(outputs[r] - labels[r], 2)));

        var values = Values(
            Cluster.Spec(s => (s.Task, s.Data.Label) = (MlTask.Regression, new LabelScaling { Scale = scale })),
            rows => tensor(outputs[rows]).view(-1, 1), rows => tensor(labels[rows]), isWeighted ? weights : null);

        Assert.AreEqual(1 - squares / Mean(r => Math.Pow(labels[r] - mean, 2)), values[0], 1e-6);
        Assert.AreEqual(Mean(r => Math.Abs(outputs[r] - labels[r])) / scale, values[1], 1e-6);
        Assert.AreEqual(Math.Sqrt(squares) / scale, values[2], 1e-6);
    }

    [TestMethod, DataRow(MlTask.Multiclass), DataRow(MlTask.Binary), DataRow(MlTask.Regression)]
    public void Train_OnAnyNumberOfRanks_TellsTheSameMetricsAndTheyRise(MlTask task)
    {
        using var folder = new TempFolder();
        var (random, _) = Draw(isWeighted: false);
        var features = Enumerable.Range(0, 300).Select(row => Array.ConvertAll([0, 1, 2, 3, 4], j => Numbers(random, 1)[0] + (j == row % 3 ? 1.2f : 0))).ToArray();
        Datasets.Write(folder["data"], 5, features.Length, row => features[row], row => task == MlTask.Binary ? row % 3 / 2 : row % 3, weight: null, rowsPerBatch: 64);
        var spec = Cluster.Spec(s =>
        {
            s.Task = task;
            s.Module.Mlp.OutputSize = task == MlTask.Multiclass ? 3 : 1;
            s.Data.ValidationFraction = 0.3;
            s.Epochs = 6;
        });

        var runs = Array.ConvertAll([1, 3], ranks => Cluster.Train(spec, ranks, folder["data"]).ShouldSucceed().Result.History);

        for (var epoch = 0; epoch < spec.Epochs; epoch++)
        {
            var (one, three) = (runs[0][epoch], runs[1][epoch]);
            Assert.AreEqual(task, one.Task);
            Assert.HasCount(MetricNames.Of(task).Count, one.ValidationMetrics);
            for (var i = 0; i < one.ValidationMetrics.Count; i++)
                Assert.AreEqual(one.ValidationMetrics[i], three.ValidationMetrics[i], 0.02, $"{MetricNames.Of(task)[i]}, epoch {epoch}");
        }

        Assert.IsGreaterThan(runs[0][0].ValidationMetrics[0], runs[0][^1].ValidationMetrics[0]);
    }

    [TestMethod, DataRow(MlTask.Multiclass), DataRow(MlTask.Binary), DataRow(MlTask.Regression)]
    public void Train_WeightsThatStayAsTheyAre_TellsTheSameOfTrainingAsOfValidation(MlTask task)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, row => [row % 7, row % 3, row % 11, 0, 1], row => task == MlTask.Binary ? row % 2 : row % 3, row => 1 + row % 4);
        var spec = Cluster.Spec(s =>
        {
            (s.Task, s.Module.Mlp.OutputSize, s.MaxMicroBatchSize, s.Epochs) = (task, task == MlTask.Multiclass ? 3 : 1, 5, 2);
            s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 1e-12 };
            s.Data.ValidationDatasetId = new string('0', 64);
        });

        var history = Cluster.Train(spec, 2, folder["data"], validationPath: folder["data"]).ShouldSucceed().Result.History;

        foreach (var epoch in history)
        {
            Assert.HasCount(MetricNames.Of(task).Count, epoch.TrainingMetrics);
            for (var i = 0; i < epoch.TrainingMetrics.Count; i++)
                Assert.AreEqual(epoch.ValidationMetrics[i], epoch.TrainingMetrics[i], 1e-6, MetricNames.Of(task)[i]);
        }
    }

    [TestMethod]
    public void Train_EpochThatWasCut_HasNoTrainingMetricsAndTheNextHas()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 650);
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 });
        var (_, step, checkpoint) = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints.First(c => c.Step % 21 is > 0 and < 20);
        File.WriteAllBytes(folder["checkpoint"], checkpoint);

        var history = Cluster.Train(spec, 2, folder["data"], folder["checkpoint"]).ShouldSucceed().Result.History;

        for (var epoch = 0; epoch < spec.Epochs; epoch++)
            Assert.AreEqual(epoch == step / 21 ? 0 : 2, history[epoch].TrainingMetrics.Count, $"epoch {epoch}");
    }

    // In two parts, as two ranks would.
    private static double[] Values(JobSpec spec, Func<Range, Tensor> outputs, Func<Range, Tensor> labels, float[]? weights)
    {
        using var scope = NewDisposeScope();
        var metrics = MetricSums.Of(spec);
        var sums = new double[metrics.Count];
        foreach (var part in new[] { 0..200, 200..Rows })
            metrics.Add(outputs(part), labels(part), weights is null ? null : tensor(weights[part]), sums);
        return metrics.Values(sums);
    }

    private static (Random, float[] Weights) Draw(bool isWeighted)
    {
        var random = new Random(4);
        return (random, [.. Enumerable.Range(0, Rows).Select(_ => isWeighted ? random.NextSingle() + 0.1f : 1)]);
    }

    private static float[] Numbers(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => 2 * random.NextSingle() - 1)];
}
