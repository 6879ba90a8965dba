using MLDistributed.Coordinator.Cluster;

namespace MLDistributed.Coordinator.Tests.Cluster;

[TestClass]
public sealed class AwakeClockTests
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(0.5);

    [TestMethod]
    [DataRow(0.5, 0.5, DisplayName = "in time")]
    [DataRow(0.9, 0.9, DisplayName = "a little late")]
    [DataRow(1.0, 1.0)]
    [DataRow(60.0, 1.0, DisplayName = "stopped for a minute")]
    public void Now_BetweenTwoBeats_PassesTwoIntervalsAtMost(double seconds, double expected)
    {
        var time = new ManualTimeProvider();
        var clock = new AwakeClock(time, Interval);

        time.Leap(TimeSpan.FromSeconds(seconds));

        Assert.AreEqual(TimeSpan.FromSeconds(expected), clock.Now, "before the beat, as for messages that waited");
        clock.Beat();
        Assert.AreEqual(TimeSpan.FromSeconds(expected), clock.Now);
        time.Leap(Interval);
        Assert.AreEqual(TimeSpan.FromSeconds(expected) + Interval, clock.Now, "it goes on");
    }

    [TestMethod]
    [DataRow(3600)]
    [DataRow(-3600)]
    public void Now_WallClockSet_DoesNotMove(int seconds)
    {
        var time = new ManualTimeProvider();
        var clock = new AwakeClock(time, Interval);

        time.SetWallClock(TimeSpan.FromSeconds(seconds));
        clock.Beat();

        Assert.AreEqual(TimeSpan.Zero, clock.Now);
    }

    [TestMethod]
    [DataRow(60, 0, DisplayName = "the wall clock is set forward by a minute")]
    [DataRow(-60, 0, DisplayName = "the wall clock is set back by a minute")]
    [DataRow(0, 600, DisplayName = "the coordinator was stopped for ten minutes")]
    public async Task Coordinator_WhoseClockJumps_LosesNobody(int wall, int stopped)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.MaxAttempts, s.DisconnectPolicy) = (1, DisconnectPolicy.Cancel)));
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        await Eventually.UntilAsync(coordinator, () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), j => j.State == JobState.Running);

        coordinator.Time.SetWallClock(TimeSpan.FromSeconds(wall));
        coordinator.Time.Leap(TimeSpan.FromSeconds(stopped));
        coordinator.Time.Advance(TimeSpan.FromSeconds(3));
        await worker.BeatAsync(coordinator);

        Assert.AreEqual(JobState.Running, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
        Assert.AreEqual("busy", (await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within()).Workers.Single().Status);
        coordinator.Time.SetWallClock(TimeSpan.FromSeconds(-wall));
        coordinator.Time.Advance(TimeSpan.FromSeconds(6));
        await Eventually.WorkerIsAsync(coordinator, "lost"); // who is silent afterwards is still noticed
    }
}
