using MLDistributed.Protocol;
using MLDistributed.Worker.Attempts;

namespace Worker.Tests.Attempts;

[TestClass]
public sealed class CommitRulesTests
{
    [TestMethod]
    [DataRow(0, 0, 0, DisplayName = "a new job")]
    [DataRow(9, 0, 9, DisplayName = "memory alone")]
    [DataRow(0, 9, 0, DisplayName = "the store alone")]
    [DataRow(9, 8, 9, DisplayName = "memory is newer")]
    [DataRow(9, 9, 9, DisplayName = "as new")]
    [DataRow(9, 10, 0, DisplayName = "the store is newer")]
    public void Resumed_IsMemoryUnlessTheStoreIsNewer(long kept, long stored, long step) => Assert.AreEqual(step, CommitRules.Resumed(kept, stored));

    [TestMethod]
    [DataRow("Crashed", false, true)]
    [DataRow("WorkerLost", false, true)]
    [DataRow("CheckpointDamaged", false, true)]
    [DataRow("Training", false, false)]
    [DataRow("Invalid", false, false)]
    [DataRow("DatasetLost", false, false)]
    [DataRow("stopped", true, true)]
    [DataRow("stopped", false, false, DisplayName = "cancelled")]
    [DataRow("finished", true, false)]
    [DataRow("result", true, false)]
    public void Memory_IsKeptWhereAnAttemptMayFollow(string end, bool jobGoesOn, bool isKept) => Assert.AreEqual(isKept, CommitRules.IsKept(End(end), jobGoesOn));

    [TestMethod]
    [DataRow("Crashed", 9, 0, false, DisplayName = "none is on its way")]
    [DataRow("Crashed", 9, 10, true, DisplayName = "newer than memory")]
    [DataRow("Crashed", 10, 10, false, DisplayName = "as new")]
    [DataRow("Crashed", 11, 10, false, DisplayName = "older")]
    [DataRow("Crashed", 0, 10, true, DisplayName = "nothing in memory")]
    [DataRow("stopped", 9, 10, true, DisplayName = "stopped for another worker's failure")]
    [DataRow("cancelled", 9, 10, false)]
    [DataRow("Training", 11, 10, true, DisplayName = "memory goes with a job that has failed, which is resumed from the store")]
    [DataRow("result", 9, 10, false)]
    public void Checkpoint_OnItsWay_IsAwaitedWhereItIsTheNewest(string end, long kept, long onItsWay, bool isAwaited) =>
        Assert.AreEqual(isAwaited, CommitRules.AwaitsCheckpoint(End(end == "cancelled" ? "stopped" : end), jobGoesOn: end != "cancelled", kept, onItsWay));

    private static AttemptEnded End(string end) => end switch
    {
        "stopped" => new AttemptEnded { Stopped = new Stopped() },
        "finished" => new AttemptEnded { Finished = new Finished() },
        "result" => new AttemptEnded { Result = new JobResult() },
        _ => new AttemptEnded { Failure = new JobFailure { Kind = Enum.Parse<FailureKind>(end) } },
    };
}
