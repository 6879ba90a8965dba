using MLDistributed.Protocol;
using MLDistributed.Worker.Attempts;
using static MLDistributed.Worker.Attempts.AttemptInput;

namespace Worker.Tests.Attempts;

[TestClass]
public sealed class AttemptStateTests
{
    private static readonly AttemptInput[] Running = [new FilesReady(), new AttemptInput.RankReady(0), new AttemptInput.RankReady(1)];

    [TestMethod]
    public void Start_FilesAndRanksInAnyOrder_WaitsForAll()
    {
        foreach (var order in new[] { new[] { 0, 1, 2 }, [2, 1, 0], [1, 0, 2] })
            Check(order.Select(i => Running[i]), "", "", "start");
    }

    [TestMethod]
    public void Started_EveryRank_IsReportedOnce() =>
        CheckRunning([new AttemptInput.RankStarted(1), new AttemptInput.RankStarted(1), new AttemptInput.RankStarted(0)], "", "", "started");

    [TestMethod]
    public void Finished_EveryRank_UploadsThenEnds() =>
        CheckRunning([Finish(0), Finish(1), new Uploaded(new JobResult())], "", "upload", "end Result");

    [TestMethod]
    public void Finished_RankDiesAfterwards_IsNoFailure() =>
        CheckRunning([Finish(0), Finish(1), Exit(1), new Uploaded(new JobResult())], "", "upload", "", "end Result");

    [TestMethod]
    public void Finished_UploadIsRefused_Fails() =>
        CheckRunning([Finish(0), Finish(1), new UploadFailed(Because("no room"))], "", "upload", "end no room");

    [TestMethod]
    public void Exit_OneRank_StopsTheOtherThenReportsTheExit() =>
        CheckRunning([Exit(1), new AttemptInput.RankStopped(0)], "stop 0", "end exit of 1");

    [TestMethod]
    public void Exit_WhilePreparing_EndsAtOnce() =>
        Check([new FilesReady(), Exit(0)], "", "end exit of 0");

    [TestMethod]
    public void Exit_AfterBystander_IsTheOneReported() =>
        CheckRunning([Fail(0, "peer gone", bystander: true), Exit(1)], "stop 1", "end exit of 1");

    [TestMethod]
    public void Failed_Twice_FirstIsReported() =>
        CheckRunning([Fail(1, "loss is NaN"), Fail(0, "something later")], "stop 0", "end loss is NaN");

    [TestMethod]
    public void Failed_BystanderAfterRealFailure_IsIgnored() =>
        CheckRunning([Fail(1, "loss is NaN"), Fail(0, "peer gone", bystander: true)], "stop 0", "end loss is NaN");

    [TestMethod]
    public void Failed_BystandersOnly_FirstIsReported() =>
        CheckRunning([Fail(1, "peer gone", bystander: true), new AttemptInput.RankStopped(0)], "stop 0", "end peer gone");

    [TestMethod]
    public void Failed_OtherRankSilent_IsKilledAtTheDeadline() =>
        CheckRunning([Fail(0, "loss is NaN"), new StopDeadline()], "stop 1", "kill 1, end loss is NaN");

    [TestMethod]
    public void Stop_RanksAnswer_EndsStopped() =>
        CheckRunning([new StopRequested("user"), new AttemptInput.RankStopped(1), new AttemptInput.RankStopped(0)], "stop 0 1", "", "end Stopped");

    [TestMethod]
    public void Stop_RankFinishesOrFailsMeanwhile_EndsStopped() =>
        CheckRunning([new StopRequested("user"), Finish(1), Fail(0, "aborted")], "stop 0 1", "", "end Stopped");

    [TestMethod]
    public void Stop_AfterFailure_ReportsTheFailure() =>
        CheckRunning([Exit(1), new StopRequested("user"), new AttemptInput.RankStopped(0)], "stop 0", "", "end exit of 1");

    [TestMethod]
    public void Stop_WhilePreparing_EndsAtOnceAndHearsNoMore() =>
        Check([new StopRequested("user"), .. Running], "end Stopped", "", "", "");

    [TestMethod]
    public void Stop_WhileUploading_EndsStopped() =>
        CheckRunning([Finish(0), Finish(1), new StopRequested("user"), new Uploaded(new JobResult())], "", "upload", "end Stopped", "");

    [TestMethod]
    public void Stopped_Unasked_IsAFailureUnlessARealOneFollows() =>
        CheckRunning([new AttemptInput.RankStopped(0), Exit(1)], "stop 1", "end exit of 1");

    [TestMethod]
    public void Files_NotToBeHad_EndsWithTheReason() =>
        Check([new AttemptInput.RankReady(0), new FilesFailed(Because("no such dataset"))], "", "end no such dataset");

    private static AttemptInput Finish(int rank) => new AttemptInput.RankFinished(rank, rank == 0 ? new JobResult() : null, new Dictionary<string, string>());

    private static AttemptInput Exit(int rank) => new RankExited(rank, Because($"exit of {rank}"));

    private static AttemptInput Fail(int rank, string message, bool bystander = false) => new AttemptInput.RankFailed(rank, Because(message), bystander);

    private static JobFailure Because(string message) => new() { Message = message };

    // Expected: the actions of each input after the ranks were started.
    [TestMethod]
    public void OfSeveralWorkers_Ready_WaitsForTheOthers() =>
        CheckShared(first: 0, [.. Running, new Begun(), new Begun(), Finish(0), Finish(1), new Uploaded(new JobResult())], "", "", "ready", "start", "", "", "upload", "end Result");

    [TestMethod]
    public void OfSeveralWorkers_WithoutRank0_EndsWithoutAResult() =>
        CheckShared(first: 2, [.. Running, new Begun(), Finish(0), Finish(1)], "", "", "ready", "start", "", "end Finished");

    [TestMethod]
    public void OfSeveralWorkers_WhileItWaits_StopsOrFailsAtOnce()
    {
        CheckShared(first: 2, [.. Running, new StopRequested("the other failed")], "", "", "ready", "end Stopped");
        CheckShared(first: 2, [.. Running, Exit(1), new Begun()], "", "", "ready", "end exit of 1", "");
    }

    [TestMethod]
    public void OfSeveralWorkers_BystandersAlone_TheSpeakersWordsAreReportedAsSuch()
    {
        CheckShared(first: 0, [.. Running, new Begun(), Fail(1, "rank 0 aborted", bystander: true), Fail(0, "waited for rank 2", bystander: true)], "", "", "ready", "start", "stop 0", "end waited for rank 2 (bystander)");
        CheckShared(first: 0, [.. Running, new Begun(), Fail(0, "waited for rank 2", bystander: true), Exit(1)], "", "", "ready", "start", "stop 1", "end exit of 1");
    }

    private static void CheckRunning(IReadOnlyList<AttemptInput> inputs, params string[] expected) => Check([.. Running, .. inputs], ["", "", "start", .. expected]);

    private static void Check(IEnumerable<AttemptInput> inputs, params string[] expected) => Check(new AttemptPlace(0, 2, IsShared: false), inputs, expected);

    private static void CheckShared(int first, IEnumerable<AttemptInput> inputs, params string[] expected) => Check(new AttemptPlace(first, 4, IsShared: true), inputs, expected);

    private static void Check(AttemptPlace place, IEnumerable<AttemptInput> inputs, params string[] expected)
    {
        var state = new AttemptState("a", place, size: 2);
        var actual = inputs.Select(input => string.Join(", ", state.Apply(input).Select(a => Describe(a, place)))).ToArray();
        CollectionAssert.AreEqual(expected, actual, string.Join(" / ", actual));
    }

    private static string Describe(AttemptAction action, AttemptPlace place) => action switch
    {
        AttemptAction.ReportReady => "ready",
        AttemptAction.StartRanks => "start",
        AttemptAction.ReportStarted => "started",
        AttemptAction.StopRanks stop => $"stop {string.Join(' ', stop.Ranks)}",
        AttemptAction.KillRanks kill => $"kill {string.Join(' ', kill.Ranks)}",
        AttemptAction.Upload => "upload",
        AttemptAction.End end => $"end {end.Report.Failure?.Message ?? end.Report.OutcomeCase.ToString()}{(place.IsShared && end.Report.IsBystander ? " (bystander)" : "")}",
        _ => throw new InvalidOperationException($"Action {action} is not known to this test."),
    };
}
