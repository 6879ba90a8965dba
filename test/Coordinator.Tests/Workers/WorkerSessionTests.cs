namespace MLDistributed.Coordinator.Tests.Workers;

[TestClass]
public sealed class WorkerSessionTests
{
    [TestMethod]
    public async Task Worker_SilentBeyondTheTimeout_IsLostAndItsJobRunsElsewhere()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var first = await FakeWorker.ConnectAsync(coordinator, "w1");
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        await first.StartedAsync(await first.ExpectStartAsync());
        await watch.UntilAsync(JobState.Running);

        coordinator.Time.Advance(TimeSpan.FromSeconds(6));
        var lost = await watch.UntilAsync(JobState.Recovering);
        StringAssert.Contains(lost.State.Reason, "Worker \"host-w1\" was silent for 6 s, expected a sign of life within 5 s. Attempt 2 follows.");
        await first.RefusedAsync(StatusCode.Unavailable);

        using var second = await FakeWorker.ConnectAsync(coordinator, "w2");
        Assert.AreEqual(2, (await second.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Worker_ReconnectsInTime_KeepsItsAttempt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        StartAttempt start;
        JobWatch watch;
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
            start = await worker.ExpectStartAsync();
            await worker.StartedAsync(start);
            await watch.UntilAsync(JobState.Running);
        }

        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        coordinator.Time.Advance(TimeSpan.FromSeconds(4));
        await back.BeatAsync(coordinator);
        coordinator.Time.Advance(TimeSpan.FromSeconds(4));
        await back.SucceedAsync(start);

        await watch.ToEndAsync();
        CollectionAssert.AreEqual(new[] { JobState.Running, JobState.Succeeded }, watch.States.TakeLast(2).ToArray());
        watch.Dispose();
    }

    [TestMethod]
    public async Task Worker_ReconnectsWithoutItsAttempt_IsGivenTimeForTheOutcomeThenRetried()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var watch = await RunThenDropAsync(coordinator);

        using var back = await FakeWorker.ConnectAsync(coordinator);
        coordinator.Time.Advance(TimeSpan.FromSeconds(4));
        await back.BeatAsync(coordinator);
        await Eventually.WorkerIsAsync(coordinator, "busy");
        coordinator.Time.Advance(TimeSpan.FromSeconds(2));

        StringAssert.Contains((await watch.UntilAsync(JobState.Recovering)).State.Reason, "reconnected without the attempt");
        Assert.AreEqual(2, (await back.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Worker_ReportsAnAttemptThatNobodyWants_IsToldToStopIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        using var worker = await FakeWorker.ConnectAsync(coordinator, running: "abandoned");

        Assert.AreEqual("abandoned", (await worker.ExpectStopAsync()).AttemptId);
    }

    [TestMethod]
    public async Task Session_OpenedAgain_EndsTheOlderOne()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var older = await FakeWorker.ConnectAsync(coordinator);

        using var newer = await FakeWorker.ConnectAsync(coordinator);

        Assert.IsGreaterThan(older.Welcome.SessionEpoch, newer.Welcome.SessionEpoch);
        StringAssert.Contains((await older.RefusedAsync(StatusCode.Aborted)).Status.Detail, "took over");
        Assert.HasCount(1, (await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within()).Workers);
    }

    [TestMethod]
    public async Task Message_OfAnOlderSession_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var worker = await FakeWorker.ConnectAsync(coordinator);

        await worker.SendAsync(new WorkerMessage { SessionEpoch = worker.Welcome.SessionEpoch - 1, Heartbeat = new Heartbeat() });

        StringAssert.Contains((await worker.RefusedAsync(StatusCode.FailedPrecondition)).Status.Detail, $"expected session {worker.Welcome.SessionEpoch}");
    }

    [TestMethod]
    public async Task Result_WithAnArtifactThatIsNotStored_IsAFailedAttempt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        var start = await worker.ExpectStartAsync();

        await worker.SucceedAsync(start, new Artifact { Id = new string('b', 64), SizeBytes = 1 });

        StringAssert.Contains((await watch.UntilAsync(JobState.Recovering)).State.Reason, "artifact \"file0\", which is not in the store");
    }

    [TestMethod]
    public async Task Ranks_CannotLoad_LocalClusterFailsTheJobWithTheReason()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        var start = await worker.ExpectStartAsync();

        await worker.BreakAsync("its rank process ended with exit code 1 while it loaded: no libtorch");
        await worker.FailAsync(start, FailureKind.Crashed);

        var failed = await watch.UntilAsync(JobState.Failed);
        StringAssert.Contains(failed.State.Failure.Message, "2 slots of \"host-w1\" cannot be used: its rank process ended with exit code 1 while it loaded: no libtorch");
        await Eventually.WorkerIsAsync(coordinator, "broken");
    }

    [TestMethod]
    public async Task Ranks_CannotLoad_JobOfANetworkWaitsAndSaysWhy()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://localhost:0"]);
        await Specs.AddDatasetAsync(coordinator);
        using var broken = await FakeWorker.ConnectAsync(coordinator);
        await broken.BreakAsync("no libtorch");
        await Eventually.WorkerIsAsync(coordinator, "broken");
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));

        await watch.UntilAsync(JobState.Queued, "cannot be used: no libtorch");
        using var other = await FakeWorker.ConnectAsync(coordinator, "w2");
        await other.ExpectStartAsync();
    }

    private static async Task<JobWatch> RunThenDropAsync(TestCoordinator coordinator)
    {
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        await worker.StartedAsync(await worker.ExpectStartAsync());
        await watch.UntilAsync(JobState.Running);
        return watch;
    }
}
