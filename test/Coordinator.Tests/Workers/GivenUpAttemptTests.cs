namespace MLDistributed.Coordinator.Tests.Workers;

/// <summary>An attempt that the coordinator gave up may still run: its devices are nobody else's until the worker says so.</summary>
[TestClass]
public sealed class GivenUpAttemptTests
{
    [TestMethod]
    public async Task Placing_WorkerNeverStarts_JobGoesOnElsewhere()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var silent = await FakeWorker.ConnectAsync(coordinator, "w1");
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        var first = await silent.ExpectStartAsync();
        using var other = await FakeWorker.ConnectAsync(coordinator, "w2");

        await AdvanceAsync(coordinator, TimeSpan.FromMinutes(3), silent, other);

        var recovering = await watch.UntilAsync(JobState.Recovering);
        StringAssert.Contains(recovering.State.Reason, "Worker \"host-w1\" accepted the attempt and gave no sign of starting it for 180 s");
        Assert.AreEqual(first.AttemptId, (await silent.ExpectStopAsync()).AttemptId);
        var second = await other.ExpectStartAsync();
        Assert.AreEqual(2, second.Attempt);
        await other.SucceedAsync(second);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
    }

    [TestMethod]
    public async Task Placing_WorkerNeverStartsAndNoAttemptIsLeft_FailsWithTheReason()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var silent = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.MaxAttempts = 1)));
        await silent.ExpectStartAsync();

        await AdvanceAsync(coordinator, TimeSpan.FromMinutes(3), silent);

        var failed = await watch.UntilAsync(JobState.Failed);
        StringAssert.Contains(failed.State.Failure.Message, "gave no sign of starting it");
    }

    [TestMethod]
    public async Task Placing_WorkerFetchesTheData_IsNotGivenUp()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        var start = await worker.ExpectStartAsync();

        for (var i = 0; i < 3; i++)
        {
            await AdvanceAsync(coordinator, TimeSpan.FromMinutes(2), worker);
            await worker.LogAsync(start, "fetching the data");
            await watch.UntilLogAsync("fetching the data");
        }

        await worker.StartedAsync(start);
        Assert.AreEqual(1, (await watch.UntilAsync(JobState.Running)).Attempt);
    }

    [TestMethod]
    public async Task Running_WorkerBeatsAndTellsNothing_JobGoesOnElsewhere()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var silent = await FakeWorker.ConnectAsync(coordinator, "w1");
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        var first = await silent.ExpectStartAsync();
        await silent.StartedAsync(first);
        using var other = await FakeWorker.ConnectAsync(coordinator, "w2");
        await AdvanceAsync(coordinator, TimeSpan.FromMinutes(4), silent, other);
        await silent.ProgressAsync(first, 1);
        await AdvanceAsync(coordinator, TimeSpan.FromMinutes(4), silent, other);
        await silent.LogAsync(first, "validates"); // long phases tell that they go on
        await watch.UntilLogAsync("validates");

        await AdvanceAsync(coordinator, TimeSpan.FromMinutes(5), silent, other);

        var recovering = await watch.UntilAsync(JobState.Recovering);
        StringAssert.Contains(recovering.State.Reason, "Worker \"host-w1\" runs the attempt and told nothing of it for 300 s");
        Assert.AreEqual(first.AttemptId, (await silent.ExpectStopAsync()).AttemptId);
        Assert.AreEqual(2, (await other.ExpectStartAsync()).Attempt, "It counts.");
    }

    [TestMethod]
    [DataRow(false, DisplayName = "still training")]
    [DataRow(true, DisplayName = "with its result")]
    public async Task Worker_BackAfterItWasLost_KeepsTheJobThatNobodyTookOver(bool isFinished)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var model = await Specs.UploadAsync(coordinator, "a model");
        var (jobId, start) = await LoseAsync(coordinator);

        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        using var watch = new JobWatch(coordinator, jobId);
        var running = await watch.UntilAsync(JobState.Running, "worker \"host-w1\" is back with the attempt, which no other had taken over");
        if (!isFinished)
        {
            await back.CheckpointAsync(start, model, step: 7);
            await back.FailAsync(start, FailureKind.Crashed);
            await watch.UntilAsync(JobState.Recovering, "Attempt 2 follows");
            coordinator.Time.Advance(TimeSpan.FromSeconds(1));
            start = await back.ExpectStartAsync();
            Assert.AreEqual((2, model.Id), (start.Attempt, start.ResumeFrom.Id), "The loss that was none does not count.");
        }

        await back.SucceedAsync(start, model);

        Assert.AreEqual(1, running.Attempt);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
    }

    [TestMethod]
    public async Task Worker_BackAfterItsJobWasPlacedAnew_GetsItsDevicesFreeOnlyWhenTheAttemptEnded()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var (_, start) = await LoseAsync(coordinator);
        using var other = await FakeWorker.ConnectAsync(coordinator, "w2");
        Assert.AreEqual(2, (await other.ExpectStartAsync()).Attempt);

        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        Assert.AreEqual(start.AttemptId, (await back.ExpectStopAsync()).AttemptId);
        var next = await Specs.SubmitAsync(coordinator);
        StringAssert.Contains((await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = next }).Within()).Reason, "2 held until the worker confirms that attempts which were given up have ended");
        await back.StoppedAsync(start.AttemptId);

        Assert.AreEqual(next, (await back.ExpectStartAsync()).JobId);
    }

    [TestMethod]
    public async Task Worker_BackWithoutTheAttempt_IsFreeAtOnce()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        await LoseAsync(coordinator);

        using var back = await FakeWorker.ConnectAsync(coordinator);

        Assert.AreEqual(2, (await back.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Worker_BackAfterTheCoordinatorGaveItUpAndRestarted_StillHoldsItsDevices()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var (jobId, start) = await LoseAsync(coordinator);
        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();

        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        using var watch = new JobWatch(coordinator, jobId);

        Assert.AreEqual(start.AttemptId, (await back.ExpectStopAsync()).AttemptId);
        await watch.UntilAsync(JobState.Recovering, "0 are free on \"host-w1\"");
        await back.StoppedAsync(start.AttemptId);
        Assert.AreEqual(2, (await back.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Worker_WithAnAttemptThatNobodyKnows_HoldsAllItsDevices()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, running: "unknown");
        Assert.AreEqual("unknown", (await worker.ExpectStopAsync()).AttemptId);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));

        await watch.UntilAsync(JobState.Queued, "0 are free on \"host-w1\"");
        await worker.StoppedAsync("unknown");

        await worker.ExpectStartAsync();
    }

    private static async Task<(string JobId, StartAttempt Start)> LoseAsync(TestCoordinator coordinator)
    {
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        await watch.UntilAsync(JobState.Running);
        coordinator.Time.Advance(TimeSpan.FromSeconds(6));
        await watch.UntilAsync(JobState.Recovering);
        return (jobId, start);
    }

    /// <summary>Moves the clock while the workers' heartbeats go on.</summary>
    private static async Task AdvanceAsync(TestCoordinator coordinator, TimeSpan by, params FakeWorker[] workers)
    {
        var step = TimeSpan.FromSeconds(4);
        for (var passed = TimeSpan.Zero; passed <= by; passed += step)
        {
            coordinator.Time.Advance(step);
            foreach (var worker in workers)
                await worker.BeatAsync(coordinator);
        }
    }
}
