using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Retries;

namespace MLDistributed.Coordinator.Tests.Retries;

[TestClass]
public sealed class RetryPolicyTests
{
    [TestMethod]
    [DataRow(FailureKind.Crashed, 3, true, "It broke. Attempt 2 follows.")]
    [DataRow(FailureKind.WorkerLost, 3, true, "It broke. Attempt 2 follows.")]
    [DataRow(FailureKind.WorkerLost, 1, false, "It broke.")]
    [DataRow(FailureKind.Training, 3, false, "It broke.")]
    [DataRow(FailureKind.Invalid, 3, false, "It broke.")]
    [DataRow(FailureKind.Unspecified, 3, false, "It broke.")]
    public void Failure_OfAKind_IsRetriedOrNot(FailureKind kind, int maxAttempts, bool retry, string reason)
    {
        var decision = RetryPolicy.Decide(Failure(kind, step: 5), 1, Spec(maxAttempts), [], []);

        Assert.AreEqual((retry, reason), (decision.Retry, decision.Reason));
    }

    [TestMethod]
    [DataRow("0", true, 0, "It broke. Attempt 2 follows.", DisplayName = "the first")]
    [DataRow("0 0", true, 1, "It broke. Attempt 3 follows; 2 of 3 were lost without progress.", DisplayName = "the second without progress")]
    [DataRow("0 0 0", false, 0, "It broke. That was the last of 3 attempts that were lost without progress between them (MaxAttempts).", DisplayName = "the third")]
    [DataRow("0 0 7", true, 0, "It broke. Attempt 4 follows.", DisplayName = "progress at last")]
    [DataRow("1 2 3 4 5 6 7", true, 0, "It broke. Attempt 8 follows.", DisplayName = "progress each time")]
    [DataRow("0 9 9 9", false, 0, "It broke. That was the last of 3 attempts that were lost without progress between them (MaxAttempts).", DisplayName = "progress once")]
    [DataRow("0 9 8 9", false, 0, "It broke. That was the last of 3 attempts that were lost without progress between them (MaxAttempts).", DisplayName = "no further than before")]
    [DataRow("9 damaged 5 5", false, 0, "It broke. That was the last of 3 attempts that were lost without progress between them (MaxAttempts).", DisplayName = "a damaged checkpoint is no loss, and going back no progress")]
    [DataRow("9 damaged 10", true, 0, "It broke. Attempt 4 follows.", DisplayName = "past the damage")]
    public void Losses_AreCountedSinceProgress(string keptSteps, bool retry, int delaySeconds, string reason)
    {
        JobFailure[] failures = [.. keptSteps.Split(' ').Select((text, i) => text == "damaged" ? Failure(FailureKind.CheckpointDamaged, 0) : Failure(FailureKind.Crashed, i + 1, keptStep: Number(text)))];

        var decision = RetryPolicy.Decide(failures[^1], failures.Length, Spec(3), failures[..^1], []);

        Assert.AreEqual((retry, TimeSpan.FromSeconds(delaySeconds), reason), (decision.Retry, decision.Delay, decision.Reason));
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
    public void Delay_GrowsWithTheLosses(int losses, double seconds) => Assert.AreEqual(
        TimeSpan.FromSeconds(seconds),
        RetryPolicy.Decide(Failure(FailureKind.WorkerLost, 0), losses, Spec(100), [.. Enumerable.Repeat(Failure(FailureKind.WorkerLost, 0), losses - 1)], []).Delay);

    [TestMethod]
    [DataRow("20 10", 0L, true, "It broke. Attempt 3 follows, from the checkpoint of step 10.")]
    [DataRow("20", 0L, true, "It broke. Attempt 3 follows, from the beginning.")]
    [DataRow("", 0L, false, "It broke.")]
    [DataRow("20 10", 9L, true, "It broke. Attempt 3 follows, from the checkpoint of step 10.")]
    [DataRow("20 10", 10L, true, "It broke. Attempt 3 follows, from step 10, which a worker has in memory.")]
    [DataRow("20", 9L, true, "It broke. Attempt 3 follows, from step 9, which a worker has in memory.")]
    public void Checkpoint_Damaged_CostsItselfAndNoAttempt(string steps, long inMemory, bool retry, string reason)
    {
        StoredCheckpoint[] checkpoints = [.. steps.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(s => new StoredCheckpoint(ContentHash.Parse(new string('a', 64)), 0, Number(s)))];

        var decision = RetryPolicy.Decide(Failure(FailureKind.CheckpointDamaged, 0, keptStep: inMemory), 2, Spec(2), [Failure(FailureKind.Crashed, 25)], checkpoints);

        Assert.AreEqual((retry, retry, reason, TimeSpan.Zero), (decision.Retry, decision.DropsCheckpoint, decision.Reason, decision.Delay));
    }

    private static JobSpec Spec(int maxAttempts) => new() { MaxAttempts = maxAttempts };

    private static JobFailure Failure(FailureKind kind, long step, int exitCode = 137, long keptStep = 0) =>
        new() { Kind = kind, Message = "It broke.", Step = step, ExitCode = exitCode, KeptStep = keptStep };

    private static long Number(string text) => long.Parse(text, System.Globalization.CultureInfo.InvariantCulture);
}
