namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class QueueTimeoutTests
{
    [TestMethod]
    [DataRow(0, 1, "waits for a worker; none is connected")]
    [DataRow(2, 3, "needs 3 ranks on one worker; the largest worker has 2")]
    public async Task Job_ThatNoWorkerCanHold_FailsAfterItsTimeout(int slots, int ranks, string reason)
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]); // a cluster that may grow
        await Specs.AddDatasetAsync(coordinator);
        using var worker = slots > 0 ? await FakeWorker.ConnectAsync(coordinator, slots: slots) : null;
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.QueueTimeoutSeconds, s.Resources.MinRanks) = (60, ranks)));
        using var watch = new JobWatch(coordinator, jobId);
        await watch.UntilAsync(JobState.Queued, reason); // told from the start

        await PassAsync(coordinator, worker, 40);
        Assert.AreEqual(JobState.Queued, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
        await PassAsync(coordinator, worker, 40);

        var end = await Eventually.UntilAsync(coordinator, () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), j => j.Ended is not null);
        Assert.AreEqual(JobState.Failed, end.State);
        Assert.AreEqual($"No worker could hold the job within 60 s (QueueTimeout): it {reason}. Connect such a worker, ask for less (MinRanks, Device), or allow more time.", end.Failure.Message);
    }

    [TestMethod]
    [DataRow(0, 2, DisplayName = "without a limit")]
    [DataRow(60, 1, DisplayName = "that waits behind another")]
    public async Task Job_ThatMayWait_Waits(int timeout, int workerSlots)
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, slots: workerSlots);
        if (timeout > 0)
        {
            await Specs.SubmitAsync(coordinator);
            await worker.ExpectStartAsync();
        }

        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.QueueTimeoutSeconds, s.Resources.MinRanks) = (timeout, timeout > 0 ? 1 : 3)));
        await PassAsync(coordinator, worker, 150);

        Assert.AreEqual(JobState.Queued, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
    }

    [TestMethod]
    public async Task Job_ThatTrainedAlready_WaitsAnHourForItsWorker()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await Specs.AddDatasetAsync(coordinator);
        string jobId;
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.QueueTimeoutSeconds = 60));
            await worker.StartedAsync(await worker.ExpectStartAsync());
        }

        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), j => j.State == JobState.Recovering);
        await PassAsync(coordinator, null, 50 * 60);
        Assert.AreEqual(JobState.Recovering, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
        await PassAsync(coordinator, null, 11 * 60);
        var end = await Eventually.UntilAsync(coordinator, () => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within(), j => j.Ended is not null);
        StringAssert.Contains(end.Failure.Message, "No worker could hold the job within 3600 s");
    }

    // In steps between which the worker is heard.
    private static async Task PassAsync(TestCoordinator coordinator, FakeWorker? worker, int seconds)
    {
        for (var passed = 0; passed < seconds; passed += 4)
        {
            coordinator.Time.Advance(TimeSpan.FromSeconds(4));
            if (worker is not null)
                await worker.BeatAsync(coordinator);
        }
    }
}
