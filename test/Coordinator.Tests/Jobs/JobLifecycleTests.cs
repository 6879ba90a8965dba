namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class JobLifecycleTests
{
    [TestMethod]
    public async Task Job_HappyPath_IsPlacedRunAndSucceeds()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        await watch.UntilAsync(JobState.Queued, "waits for a worker; none is connected");

        using var worker = await FakeWorker.ConnectAsync(coordinator);
        Assert.AreEqual(1.25, worker.Welcome.HeartbeatSeconds);
        Assert.IsTrue(File.Exists(Path.Combine(worker.Welcome.SharedStore, "datasets", Specs.DatasetId + ".arrow")));
        var start = await worker.ExpectStartAsync();
        Assert.AreEqual(jobId, start.JobId);
        CollectionAssert.AreEqual(new[] { 0, 1 }, start.Slots);
        Assert.IsNull(start.ResumeFrom);

        await worker.StartedAsync(start);
        await worker.ProgressAsync(start, 7);
        await worker.EpochAsync(start, 0);
        await worker.EpochAsync(start, 0); // repeated, as after an outage
        var model = await Specs.UploadAsync(coordinator, "model");
        await worker.SucceedAsync(start, model);

        var last = await watch.ToEndAsync();
        Assert.AreEqual(JobState.Succeeded, last.State.State);
        Assert.AreEqual(model, last.State.Result.Artifacts["file0"]);
        CollectionAssert.AreEqual(new[] { JobState.Queued, JobState.Queued, JobState.Placing, JobState.Running, JobState.Succeeded }, watch.States.ToArray());
        Assert.AreEqual(1, watch.Seen.Count(e => e.Epoch is not null));
        CollectionAssert.AreEqual(Enumerable.Range(1, watch.Seen.Count - 1).Select(i => (long)i).ToArray(), watch.Seen.Select(e => e.Sequence).Distinct().ToArray());
        Assert.AreEqual(watch.Seen[0].Sequence, watch.Seen[1].Sequence, "Why it waited is no history.");
        var snapshot = await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within();
        Assert.AreEqual(7, snapshot.Progress.Step);
        Assert.AreEqual("trained 2 epochs on 2 ranks", snapshot.Reason);
    }

    [TestMethod]
    public async Task Job_RankCrashes_RetriesFromTheLatestCheckpoint()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var first = await worker.ExpectStartAsync();
        await worker.StartedAsync(first);
        var old = await Specs.UploadAsync(coordinator, "checkpoint 1");
        var latest = await Specs.UploadAsync(coordinator, "checkpoint 2");
        await worker.CheckpointAsync(first, old, 10);
        await worker.CheckpointAsync(first, latest, 20);
        await worker.CheckpointAsync(first, old, 10); // repeated, as after an outage
        await worker.FailAsync(first, FailureKind.Crashed, step: 25);

        var recovering = await watch.UntilAsync(JobState.Recovering);
        StringAssert.Contains(recovering.State.Reason, "Rank 1 was killed by signal 9. Attempt 2 follows.");
        var second = await worker.ExpectStartAsync();
        Assert.AreEqual(2, second.Attempt);
        Assert.AreEqual(latest, second.ResumeFrom);
        Assert.AreNotEqual(first.AttemptId, second.AttemptId);

        await worker.StartedAsync(second);
        await worker.SucceedAsync(second);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
        await coordinator.Get<Coordinator.Store.Journal>().FlushAsync().Within();
        var left = Directory.EnumerateFiles(Path.Combine(coordinator.DataFolder, "blobs")).ToList();
        Assert.IsEmpty(left, "The checkpoints of an ended job stay.");
    }

    [TestMethod]
    public async Task Job_ThatGetsOnBetweenItsCrashes_IsRetriedAtOnceForEver()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        // By checkpoints and by commits, which the worker tells with the failure.
        for (var step = 10; step <= 60; step += 10)
        {
            var attempt = await worker.ExpectStartAsync();
            Assert.AreEqual(step / 10, attempt.Attempt);
            await worker.StartedAsync(attempt);
            if (step % 20 == 0)
                await worker.CheckpointAsync(attempt, await Specs.UploadAsync(coordinator, $"checkpoint {step}"), step);
            await worker.FailAsync(attempt, FailureKind.Crashed, step + 1, keptStep: step % 20 == 0 ? 0 : step);
        }

        using var watch = new JobWatch(coordinator, jobId);
        await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.Crashed, step: 61);
        await watch.UntilAsync(JobState.Recovering, "Attempt 8 follows; 2 of 3 were lost without progress.");
        coordinator.Time.Advance(TimeSpan.FromSeconds(1));
        await worker.BeatAsync(coordinator);
        await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.Crashed, step: 62);

        StringAssert.EndsWith((await watch.ToEndAsync()).State.Reason, "That was the last of 3 attempts that were lost without progress between them (MaxAttempts).");
    }

    [TestMethod]
    [DataRow(FailureKind.Training)]
    [DataRow(FailureKind.Invalid)]
    public async Task Job_TrainingFails_IsNotRetried(FailureKind kind)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        await worker.FailAsync(await worker.ExpectStartAsync(), kind, message: "The loss is NaN at step 3.");

        var last = await watch.ToEndAsync();

        Assert.AreEqual(JobState.Failed, last.State.State);
        Assert.AreEqual("The loss is NaN at step 3.", last.State.Failure.Message);
    }

    [TestMethod]
    public async Task Job_SubmittedTwiceWithOneRequestId_IsOneJob()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);

        var first = await Specs.SubmitAsync(coordinator, requestId: "r1");
        var again = await Specs.SubmitAsync(coordinator, requestId: "r1");
        var other = await Specs.SubmitAsync(coordinator, requestId: "r2");

        Assert.AreEqual(first, again);
        Assert.AreNotEqual(first, other);
        var list = await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within();
        CollectionAssert.AreEqual(new[] { other, first }, list.Jobs.Select(j => j.Id).ToArray());
    }

    [TestMethod]
    public async Task Submit_InvalidSpec_TellsAllErrorsAtOnce()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var spec = Specs.Valid(change: s => (s.Epochs, s.GlobalBatchSize) = (0, -1));

        var error = await coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = spec }).Fails(StatusCode.InvalidArgument);

        StringAssert.Contains(error.Status.Detail, "Epochs is 0");
        StringAssert.Contains(error.Status.Detail, "BatchSize is -1");
    }

    [TestMethod]
    public async Task Submit_UnknownDataset_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var error = await coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Specs.Valid() }).Fails(StatusCode.FailedPrecondition);

        StringAssert.Contains(error.Status.Detail, $"Dataset \"{Specs.DatasetId}\" is not in the store");
    }

    [TestMethod]
    public async Task Watch_ResumedAfterASequence_GoesOnWithoutGap()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        JobEvent seen;
        using (var cut = new JobWatch(coordinator, jobId))
            seen = await cut.UntilAsync(JobState.Running);
        await worker.ProgressAsync(start, 1);
        await worker.SucceedAsync(start);

        using var resumed = new JobWatch(coordinator, jobId, seen.Sequence);
        await resumed.ToEndAsync();

        CollectionAssert.AreEqual(new[] { seen.Sequence + 1, seen.Sequence + 2 }, resumed.Seen.Select(e => e.Sequence).ToArray());
        using var late = new JobWatch(coordinator, jobId);
        await late.ToEndAsync();
        Assert.AreEqual(seen.Sequence + 2, late.Seen.Count);
    }
}
