using Google.Protobuf.WellKnownTypes;
using MLDistributed.Cli.Watching;
using MLDistributed.Protocol;

namespace Cli.Tests.Watching;

[TestClass]
public sealed class EventLinesTests
{
    private static readonly DateTimeOffset s_time = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    [TestMethod]
    public void Of_Epoch_CountsFromOne() => CollectionAssert.AreEqual(
        new[] { $"{s_time.ToLocalTime():HH:mm:ss} epoch 1: loss 0.5, validation 0.25 (best), RSquared 0.75, MeanAbsoluteError 2, RootMeanSquaredError 3, 1.5 s" },
        Lines(new JobEvent { Epoch = new EpochEnded { Epoch = 0, TrainingLoss = 0.5, ValidationLoss = 0.25, IsBest = true, Seconds = 1.5, Task = MlTask.Regression, ValidationMetrics = { 0.75, 2, 3 } } }));

    [TestMethod]
    public void Of_EpochWithoutValidation_HasTheMetricsOfTraining() => CollectionAssert.AreEqual(
        new[] { $"{s_time.ToLocalTime():HH:mm:ss} epoch 2: loss 0.5, MicroAccuracy 0.75, MacroAccuracy 0.5, 1.5 s" },
        Lines(new JobEvent { Epoch = new EpochEnded { Epoch = 1, TrainingLoss = 0.5, Seconds = 1.5, Task = MlTask.Multiclass, TrainingMetrics = { 0.75, 0.5 } } }));

    [TestMethod]
    public void Of_LogOfSeveralLines_HangsAndHidesNothing() => CollectionAssert.AreEqual(
        new[] { $@"{s_time.ToLocalTime():HH:mm:ss} rank 0: Boom\e[2J", @"         |   at \u202Ex" },
        Lines(new JobEvent { Log = new LogLine { Source = "rank 0", Message = "Boom\e[2J\r\n  at \u202Ex" } }));

    [TestMethod]
    public void Of_Failure_HasTheRanksLastWords() => CollectionAssert.AreEqual(
        new[] { $"{s_time.ToLocalTime():HH:mm:ss} failed: Rank 1 died.", @"         | a\nb", "         | c" },
        Lines(new JobEvent { State = new StateChanged { State = JobState.Failed, Failure = new JobFailure { Message = "Rank 1 died.", LastWords = { "a\nb", "c" } } } }));

    [TestMethod]
    public void Of_AnotherDaysEvent_HasItsDate() => StringAssert.StartsWith(
        EventLines.Of(new JobEvent { Time = s_time.ToTimestamp(), Log = new LogLine { Source = "a", Message = "b" } }, s_time.AddDays(2)).Single(),
        $"{s_time.ToLocalTime():yyyy-MM-dd HH:mm} a: b");

    [TestMethod]
    public void Of_Progress_IsNoLine() => Assert.IsEmpty(Lines(new JobEvent { Progress = new Progress() }));

    private static string[] Lines(JobEvent item)
    {
        item.Time = s_time.ToTimestamp();
        return [.. EventLines.Of(item, s_time)];
    }
}
