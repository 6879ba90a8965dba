namespace MLDistributed.Coordinator.Tests.Cluster;

[TestClass]
public sealed class RestartTests
{
    [TestMethod]
    public async Task Coordinator_RestartedWhileAJobRuns_TakesTheAttemptBack()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var (jobId, start, seen, epoch) = await RunAsync(coordinator);

        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();

        using var watch = new JobWatch(coordinator, jobId, seen);
        var recovering = await watch.UntilAsync(JobState.Recovering);
        Assert.AreEqual(seen + 1, recovering.Sequence, "A watch goes on where it was cut.");
        using var worker = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        Assert.IsGreaterThan(epoch, worker.Welcome.SessionEpoch);
        await watch.UntilAsync(JobState.Running, "is back and kept training");
        await worker.SucceedAsync(start);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
        Assert.AreEqual(1, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).Attempt);
    }

    [TestMethod]
    public async Task Coordinator_RestartedAndWorkerGone_GivesTheJobItsNextAttempt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var (jobId, _, seen, _) = await RunAsync(coordinator);

        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();
        using var watch = new JobWatch(coordinator, jobId, seen);
        using var other = await FakeWorker.ConnectAsync(coordinator, "w2");
        coordinator.Time.Advance(TimeSpan.FromSeconds(4));
        await other.BeatAsync(coordinator);
        Assert.AreEqual(JobState.Recovering, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(4), async () =>
        {
            await other.BeatAsync(coordinator);
            return await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within();
        }, j => j.Attempt == 2);

        StringAssert.Contains((await watch.UntilAsync(JobState.Recovering, "Attempt 2 follows")).State.Reason, "did not reconnect within 20 s");
    }

    [TestMethod]
    public async Task Coordinator_RestartedWithQueuedJobs_KeepsThemInOrder()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var first = await Specs.SubmitAsync(coordinator, requestId: "r1");
        var second = await Specs.SubmitAsync(coordinator);

        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();

        Assert.AreEqual(first, await Specs.SubmitAsync(coordinator, requestId: "r1"), "The same request is the same job after a restart too.");
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        Assert.AreEqual(first, start.JobId);
        await worker.SucceedAsync(start);
        Assert.AreEqual(second, (await worker.ExpectStartAsync()).JobId);
    }

    [TestMethod]
    public async Task Job_EndedBeforeARestart_IsStillShownAndWatched()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            var jobId = await Specs.SubmitAsync(coordinator);
            await worker.SucceedAsync(await worker.ExpectStartAsync());
            using var live = new JobWatch(coordinator, jobId);
            await live.ToEndAsync();

            await coordinator.StopServerAsync();
            await coordinator.StartServerAsync();

            using var replay = new JobWatch(coordinator, jobId);
            await replay.ToEndAsync();
            CollectionAssert.AreEqual(live.Seen, replay.Seen);
            Assert.AreEqual(JobState.Succeeded, (await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId }).Within()).State);
        }
    }

    [TestMethod]
    public async Task Coordinator_RestartedWhileAJobIsBeingCancelled_CancelsIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        string jobId;
        StartAttempt start;
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            jobId = await Specs.SubmitAsync(coordinator);
            start = await worker.ExpectStartAsync();
            await worker.StartedAsync(start);
            _ = coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = "Ctrl-C" }).ResponseAsync.ContinueWith(t => t.Exception, TaskScheduler.Default);
            await worker.ExpectStopAsync();
            await coordinator.StopServerAsync(); // before the worker could confirm
        }

        await coordinator.StartServerAsync();

        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        Assert.AreEqual("Ctrl-C", (await back.ExpectStopAsync()).Reason);
        await back.StoppedAsync(start.AttemptId);
        using var watch = new JobWatch(coordinator, jobId);
        var end = await watch.ToEndAsync();
        Assert.AreEqual((JobState.Cancelled, "Ctrl-C"), (end.State.State, end.State.Reason));
    }

    [TestMethod]
    public async Task Coordinator_RestartedWhileAJobIsBeingCancelledAndWorkerGone_CancelsItInTime()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        string jobId;
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            jobId = await Specs.SubmitAsync(coordinator);
            await worker.StartedAsync(await worker.ExpectStartAsync());
            _ = coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = "Ctrl-C" }).ResponseAsync.ContinueWith(t => t.Exception, TaskScheduler.Default);
            await worker.ExpectStopAsync();
            await coordinator.StopServerAsync();
        }

        await coordinator.StartServerAsync();

        var job = await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1),
            () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), j => j.State == JobState.Cancelled);
        StringAssert.Contains(job.Reason, "Ctrl-C; worker \"host-w1\" did not confirm within 5 s");
    }

    private static async Task<(string JobId, StartAttempt Start, long Seen, long Epoch)> RunAsync(TestCoordinator coordinator)
    {
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        var running = await watch.UntilAsync(JobState.Running);
        return (jobId, start, running.Sequence, worker.Welcome.SessionEpoch);
    }
}
