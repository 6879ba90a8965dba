namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class CancellationTests
{
    [TestMethod]
    public async Task Cancel_RunningJob_WaitsUntilTheRanksAreStopped()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);

        var cancelling = coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = "Ctrl-C" }).ResponseAsync;
        var stop = await worker.ExpectStopAsync();
        Assert.AreEqual(start.AttemptId, stop.AttemptId);
        Assert.AreEqual("Ctrl-C", stop.Reason);
        Assert.IsFalse(cancelling.IsCompleted);
        await worker.StoppedAsync(start.AttemptId);

        var snapshot = await cancelling.Within();
        Assert.AreEqual(JobState.Cancelled, snapshot.State);
        Assert.AreEqual("Ctrl-C", snapshot.Reason);
        var again = await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId }).Within();
        Assert.AreEqual(snapshot, again);
    }

    [TestMethod]
    public async Task Cancel_QueuedJob_EndsAtOnce()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);

        var snapshot = await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = "changed my mind" }).Within();

        Assert.AreEqual(JobState.Cancelled, snapshot.State);
    }

    [TestMethod]
    public async Task Cancel_WorkerStaysSilent_EndsAfterTheStopTimeoutAndKeepsItsSlots()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        var cancelling = coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = "enough" }).ResponseAsync;
        await worker.ExpectStopAsync();

        coordinator.Time.Advance(TimeSpan.FromSeconds(3));
        await worker.BeatAsync(coordinator);
        Assert.AreEqual("busy", (await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within()).Workers[0].Status);
        coordinator.Time.Advance(TimeSpan.FromSeconds(3));

        var snapshot = await cancelling.Within();
        Assert.AreEqual(JobState.Cancelled, snapshot.State);
        StringAssert.Contains(snapshot.Reason, "enough; worker \"host-w1\" did not confirm within 5 s");
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        await watch.UntilAsync(JobState.Queued, "0 are free on \"host-w1\"");
        await worker.StoppedAsync(start.AttemptId);
        await worker.ExpectStartAsync();
    }

    [TestMethod]
    public async Task Submitter_GoneForTheGracePeriod_CancelsByPolicy()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.DisconnectPolicy = DisconnectPolicy.Cancel));
        using (var watch = new JobWatch(coordinator, jobId))
        {
            await watch.NextAsync();
            coordinator.Time.Advance(TimeSpan.FromSeconds(60));
            var watched = await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within();
            Assert.AreEqual(JobState.Queued, watched.State, "A watched job stays.");
        }

        var snapshot = await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(10),
            () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), s => s.State == JobState.Cancelled);

        StringAssert.Contains(snapshot.Reason, "its submitter was gone for 30 s");
    }
}
