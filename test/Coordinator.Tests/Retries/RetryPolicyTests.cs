using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Retries;

namespace MLDistributed.Coordinator.Tests.Retries;

[TestClass]
public sealed class RetryPolicyTests
{
    [TestMethod]
    [DataRow(FailureKind.Crashed, 1, 3, true, "It broke. Attempt 2 of 3 follows.")]
    [DataRow(FailureKind.Crashed, 2, 3, true, "It broke. Attempt 3 of 3 follows.")]
    [DataRow(FailureKind.Crashed, 3, 3, false, "It broke. That was the last of 3 attempts.")]
    [DataRow(FailureKind.WorkerLost, 1, 3, true, "It broke. Attempt 2 of 3 follows.")]
    [DataRow(FailureKind.WorkerLost, 1, 1, false, "It broke.")]
    [DataRow(FailureKind.Training, 1, 3, false, "It broke.")]
    [DataRow(FailureKind.Invalid, 1, 3, false, "It broke.")]
    [DataRow(FailureKind.Unspecified, 1, 3, false, "It broke.")]
    public void Failure_OfAKind_IsRetriedOrNot(FailureKind kind, int attempt, int maxAttempts, bool retry, string reason)
    {
        var decision = RetryPolicy.Decide(Failure(kind, step: 5), attempt, Spec(maxAttempts), [], []);

        Assert.AreEqual((retry, reason), (decision.Retry, decision.Reason));
    }

    [TestMethod]
    [DataRow(5L, 137, false, DisplayName = "the same")]
    [DataRow(6L, 137, true, DisplayName = "another step")]
    [DataRow(5L, 139, true, DisplayName = "another exit code")]
    public void Failure_ThirdTimeAtOneStep_EndsTheJob(long step, int exitCode, bool retry)
    {
        JobFailure[] earlier = [Failure(FailureKind.Crashed, 5), Failure(FailureKind.WorkerLost, 5), Failure(FailureKind.Crashed, 5)];

        var decision = RetryPolicy.Decide(Failure(FailureKind.Crashed, step, exitCode), 4, Spec(10), earlier, []);

        Assert.AreEqual(retry, decision.Retry);
        if (!retry)
            Assert.AreEqual("It broke. The same happened 3 times at step 5.", decision.Reason);
    }

    [TestMethod]
    public void Crash_BeforeAnyStep_CountsAsAnAttemptOnly()
    {
        JobFailure[] earlier = [.. Enumerable.Repeat(Failure(FailureKind.Crashed, 0), 5)];

        Assert.IsTrue(RetryPolicy.Decide(Failure(FailureKind.Crashed, 0), 6, Spec(10), earlier, []).Retry);
    }

    [TestMethod]
    public void Worker_LostAgainAndAgain_IsNotTheJobsFault()
    {
        JobFailure[] earlier = [.. Enumerable.Repeat(Failure(FailureKind.WorkerLost, 0), 5)];

        Assert.IsTrue(RetryPolicy.Decide(Failure(FailureKind.WorkerLost, 0), 6, Spec(10), earlier, []).Retry);
    }

    [TestMethod]
    [DataRow(1, 0.0)]
    [DataRow(2, 1.0)]
    [DataRow(3, 2.0)]
    [DataRow(4, 4.0)]
    [DataRow(50, 30.0)]
    public void Delay_GrowsWithTheAttempts(int attempt, double seconds) =>
        Assert.AreEqual(TimeSpan.FromSeconds(seconds), RetryPolicy.Decide(Failure(FailureKind.WorkerLost, 0), attempt, Spec(100), [], []).Delay);

    [TestMethod]
    [DataRow("20 10", true, "It broke. Attempt 3 of 3 follows, from the checkpoint of step 10.")]
    [DataRow("20", true, "It broke. Attempt 3 of 3 follows, from the beginning.")]
    [DataRow("", false, "It broke.")]
    public void Checkpoint_Damaged_CostsItselfAndNoAttempt(string steps, bool retry, string reason)
    {
        StoredCheckpoint[] checkpoints = [.. steps.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(s => new StoredCheckpoint(new Artifact(), int.Parse(s, System.Globalization.CultureInfo.InvariantCulture)))];

        var decision = RetryPolicy.Decide(Failure(FailureKind.CheckpointDamaged, 0), 2, Spec(2), [Failure(FailureKind.Crashed, 25)], checkpoints);

        Assert.AreEqual((retry, retry, reason, TimeSpan.Zero), (decision.Retry, decision.DropsCheckpoint, decision.Reason, decision.Delay));
    }

    [TestMethod]
    [DataRow(3, true, "It broke. Attempt 4 of 4 follows.")]
    [DataRow(4, false, "It broke. That was the last of 4 attempts.")]
    public void Failure_AfterDamagedCheckpoints_CountsWithoutThem(int attempt, bool retry, string reason)
    {
        JobFailure[] earlier = [Failure(FailureKind.Crashed, 25), Failure(FailureKind.CheckpointDamaged, 0)];

        var decision = RetryPolicy.Decide(Failure(FailureKind.Crashed, 7), attempt, Spec(3), earlier, [new StoredCheckpoint(new Artifact(), 5)]);

        Assert.AreEqual((retry, false, reason), (decision.Retry, decision.DropsCheckpoint, decision.Reason));
    }

    private static JobSpec Spec(int maxAttempts) => new() { MaxAttempts = maxAttempts };

    private static JobFailure Failure(FailureKind kind, long step, int exitCode = 137) => new() { Kind = kind, Message = "It broke.", Step = step, ExitCode = exitCode };
}
