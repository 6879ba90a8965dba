using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>The range test: what job it is, when it ends, and what it says.</summary>
[TestClass]
public sealed class LearningRateTests : IDisposable
{
    private readonly FakeBackend _backend = new();
    private readonly MLContext _ml;
    private readonly IDataView _data;

    public LearningRateTests()
    {
        _ml = new MLContext(seed: 1).UseCluster(_backend);
        _data = _ml.Data.LoadFromEnumerable(SyntheticData.Examples());
    }

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Suggestion_OfALuckyFirstBatch_IsOfTheAverageAllTheSame()
    {
        var losses = Enumerable.Repeat(2.0, 20).Prepend(0.1).Concat(Enumerable.Range(0, 20).Select(i => 2 - 0.05 * i)).Append(9.0);
        var curve = new LearningRateCurve([.. losses.Select((loss, i) => new LearningRatePoint(1e-6 * Math.Pow(1.5, i), loss))]);

        Assert.AreEqual(curve.Points[^2].LearningRate / 10, curve.Suggestion, 1e-12);
        Assert.AreEqual(0.1, new LearningRateCurve([new(1, 2)]).Suggestion, "One point is the least there is.");
    }

    [TestMethod]
    public void FindLearningRate_Job_OnlyLooks()
    {
        var options = new DistributedRegressionTrainer.Options { LabelColumnName = "Value", BatchSize = 32, ValidationSet = _data, EarlyStopping = new EarlyStopping(), WeightAveraging = new WeightAveraging() };

        _ml.Regression.Trainers.DistributedNeuralNetwork(options).FindLearningRate(_data, 1e-5, 0.1, steps: 12);

        var job = _backend.Jobs.Single();
        Assert.AreEqual(3, job.Epochs, "150 rows make 5 steps an epoch.");
        Assert.AreEqual((0.1, 0.0), (job.Optimizer.LearningRate, job.Optimizer.AveragingDecay));
        Assert.AreEqual((ScheduleKind.Exponential, 1e-4), (job.Schedule.Kind, Math.Round(job.Schedule.InitialFraction, 12)));
        Assert.IsTrue(job is { EarlyStopping: null, Checkpoint: null, Data: { ValidationDatasetId: "", ValidationFraction: 0 } });
        Assert.IsNull(_backend.Validations.Single());
        Assert.IsEmpty(_backend.Files);
    }

    [TestMethod]
    [DataRow(0.0, 1.0, 100), DataRow(0.1, 0.1, 100), DataRow(1e-6, double.PositiveInfinity, 100), DataRow(1e-6, 1.0, 9)]
    public void FindLearningRate_OfNoRangeOrNoSteps_IsRefused(double from, double to, int steps)
    {
        Assert.ThrowsExactly<ArgumentException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork("Value").FindLearningRate(_data, from, to, steps));
        Assert.IsEmpty(_backend.Jobs);
    }

    [TestMethod]
    public void Curve_OfStepsToldInPieces_HasTheirRatesAndEndsWhenItHasRisenFourfold()
    {
        using var test = new LearningRateTest(1e-4, 1, 5, listener: null);
        // Losses that fall to 1 at the third step, and then rise.
        Report((1, 3), (2, 2));
        Report((2, 2), (3, 1));
        Report((4, 3));
        Assert.IsFalse(test.End.IsCancellationRequested);
        Report((5, 5));

        Assert.IsTrue(test.End.IsCancellationRequested);
        foreach (var (point, power) in test.Curve.Points.Zip((int[])[-4, -3, -2, -1, 0]))
            Assert.AreEqual(Math.Pow(10, power), point.LearningRate, 1e-9);
        CollectionAssert.AreEqual(new[] { 3.0, 2, 1, 3, 5 }, test.Curve.Points.Select(p => p.Loss).ToArray());
        Assert.AreEqual(1e-3, test.Curve.Suggestion, 1e-9, "A tenth of the rate of the least.");

        void Report(params (long Step, double Loss)[] losses) => test.Report(new TrainingProgress
        {
            JobId = "1",
            State = TrainingState.Running,
            TotalSteps = 5,
            RecentLosses = [.. losses.Select(l => new StepLoss(l.Step, l.Loss))],
        });
    }

    [TestMethod]
    public void FindLearningRate_TrainingThatFails_IsTheEndOfTheCurve()
    {
        _backend.OnTrain = (_, _) => throw new TrainingFailedException("1", "", new JobFailure { Kind = FailureKind.Training, Message = "Loss is NaN at step 7." });
        Assert.IsEmpty(_ml.Regression.Trainers.DistributedNeuralNetwork("Value").FindLearningRate(_data).Points);

        _backend.OnTrain = (_, _) => throw new TrainingFailedException("1", "", new JobFailure { Kind = FailureKind.Crashed, Message = "Rank 0 crashed." });
        Assert.ThrowsExactly<TrainingFailedException>(() => _ml.Regression.Trainers.DistributedNeuralNetwork("Value").FindLearningRate(_data));
    }
}
