using System.Globalization;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class TrainingSummaryTests
{
    [TestMethod]
    public void From_Result_CountsEpochsFromOne()
    {
        var summary = TrainingSummary.From(Result());

        Assert.AreEqual(2, summary.BestEpoch);
        CollectionAssert.AreEqual(new[] { 1, 2, 3 }, summary.History.Select(e => e.Epoch).ToArray());
        Assert.AreEqual(summary.History[summary.BestEpoch - 1].TrainingLoss, summary.TrainingLoss);
    }

    [TestMethod]
    public void ValidationMetrics_OfTheSummary_AreTheBestEpochs()
    {
        var metrics = TrainingSummary.From(Result()).ValidationMetrics;

        Assert.AreEqual((0.9, 0.95, 0.8), (metrics["Accuracy"], metrics["AreaUnderRocCurve"], metrics["F1Score"]));
        Assert.AreEqual(0.99, TrainingSummary.From(Result()).TrainingMetrics["AreaUnderRocCurve"]);
        Assert.IsEmpty(TrainingSummary.From(Result()).History[0].ValidationMetrics);
        CollectionAssert.AreEqual(TrainingSummary.From(Result()).History.ToArray(), TrainingSummary.From(Result()).History.ToArray(), "Summaries are values.");
    }

    [TestMethod]
    public void ToString_Summary_IsASentence()
    {
        var culture = CultureInfo.CurrentCulture;
        try
        {
            var comma = (CultureInfo)CultureInfo.InvariantCulture.Clone();
            (comma.NumberFormat.NumberDecimalSeparator, comma.NumberFormat.NumberGroupSeparator) = (",", ".");
            CultureInfo.CurrentCulture = comma;
            Assert.AreEqual("3 epochs, the best of which was epoch 2, 1,200 steps on 2 ranks in 1.5 s: loss 0.1235, validation loss 0.25 (Accuracy 0.9, AreaUnderRocCurve 0.95, F1Score 0.8)", TrainingSummary.From(Result()).ToString());
            Assert.AreEqual("epoch 1: loss 0.5, validation loss 0.75", TrainingSummary.From(Result()).History[0].ToString());
            Assert.AreEqual("epoch 3: loss 0.1 (RSquared 0.5, MeanAbsoluteError 2, RootMeanSquaredError 3)", TrainingSummary.From(new JobResult { History = { new EpochEnded { Epoch = 2, TrainingLoss = 0.1, Task = MlTask.Regression, TrainingMetrics = { 0.5, 2, 3 } } } }).History[0].ToString());
            Assert.AreEqual("1 epoch, 1 step on 1 rank in 0.0 s: loss 2", TrainingSummary.From(new JobResult { Epochs = 1, Steps = 1, WorldSize = 1, TrainingLoss = 2 }).ToString());
        }
        finally
        {
            CultureInfo.CurrentCulture = culture;
        }
    }

    [TestMethod]
    public void Tell_FinishedJob_LogAndProgressAndSummaryAgree()
    {
        var (lines, reports) = (new List<string>(), new Reports());
        var narrator = new JobNarrator("5", new JobSpec { Epochs = 3 }, reports, l => lines.Add(l.Message), TimeProvider.System);
        foreach (var epoch in Result().History)
        {
            narrator.Tell(new JobEvent { Progress = new Progress { Epoch = epoch.Epoch, Step = 400 * (epoch.Epoch + 1), TotalSteps = 1200, Loss = 9 } });
            narrator.Tell(new JobEvent { Epoch = epoch });
        }

        narrator.Tell(new JobEvent { State = new StateChanged { State = JobState.Succeeded, Result = Result() } });

        var summary = TrainingSummary.From(Result());
        CollectionAssert.AreEqual(new[] { 1, 2, 3 }, reports.All.Select(r => r.Epoch).Distinct().ToArray());
        foreach (var epoch in summary.History)
            StringAssert.StartsWith(lines.Single(l => l.StartsWith($"epoch {epoch.Epoch} of 3", StringComparison.Ordinal)), epoch.ToString().Replace(":", " of 3:", StringComparison.Ordinal));
        Assert.AreEqual($"succeeded: {summary}", lines[^1]);
        Assert.AreEqual((summary.TrainingLoss, summary.ValidationLoss), (reports.All[^1].Loss, reports.All[^1].ValidationLoss));
        Assert.AreEqual((0.99, 0.95), (reports.All[^1].TrainingMetrics["AreaUnderRocCurve"], reports.All[^1].ValidationMetrics["AreaUnderRocCurve"]));
        Assert.AreEqual(9, reports.All[^2].Loss);
    }

    private static JobResult Result() => new()
    {
        Epochs = 3,
        BestEpoch = 1,
        Steps = 1200,
        WorldSize = 2,
        TrainingSeconds = 1.5,
        TrainingLoss = 0.12345678,
        ValidationLoss = 0.25,
        History =
        {
            new EpochEnded { Epoch = 0, TrainingLoss = 0.5, ValidationLoss = 0.75, IsBest = true },
            new EpochEnded { Epoch = 1, TrainingLoss = 0.12345678, ValidationLoss = 0.25, IsBest = true, Task = MlTask.Binary, TrainingMetrics = { 0.95, 0.99, 0.9 }, ValidationMetrics = { 0.9, 0.95, 0.8 } },
            new EpochEnded { Epoch = 2, TrainingLoss = 0.1, ValidationLoss = 0.5 },
        },
    };

    private sealed class Reports : IProgress<TrainingProgress>
    {
        public List<TrainingProgress> All { get; } = [];

        public void Report(TrainingProgress value) => All.Add(value);
    }
}
