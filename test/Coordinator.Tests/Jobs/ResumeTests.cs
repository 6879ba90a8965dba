using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Retention;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Jobs;

/// <summary>What a job that failed or was cancelled keeps, and jobs that go on from it.</summary>
[TestClass]
public sealed class ResumeTests
{
    [TestMethod]
    [DataRow(false, DisplayName = "failed")]
    [DataRow(true, DisplayName = "cancelled")]
    public async Task Resume_EndedJob_GoesOnFromItsLastCheckpoint(bool isCancelled)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var worker = await ConnectAsync(coordinator);
        var (ended, newest) = await EndAsync(coordinator, worker, isCancelled);
        Assert.AreEqual(20L, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = ended }).Within()).KeptStep);
        Assert.AreEqual("20", await StoredAsync(coordinator), "It keeps the last alone.");

        var resumed = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }).Within()).JobId;
        var again = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }).Within()).JobId;

        Assert.AreNotEqual(ended, resumed);
        Assert.AreEqual(resumed, again, "The same job is resumed once.");
        var start = await worker.ExpectStartAsync();
        Assert.AreEqual((resumed, newest, 20L, 1), (start.JobId, start.ResumeFrom, start.ResumeStep, start.Attempt));
        Assert.AreEqual(DisconnectPolicy.Finish, start.Spec.DisconnectPolicy, "Nobody waits for it.");
        Assert.AreEqual(0L, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = ended }).Within()).KeptStep);
        using var watch = new JobWatch(coordinator, resumed);
        StringAssert.Contains((await watch.UntilAsync(JobState.Queued)).State.Reason, $"resumes job {ended} from the checkpoint of step 20");
        await worker.SucceedAsync(start);
        await watch.ToEndAsync();
        Assert.AreEqual("", await StoredAsync(coordinator));
        await RefusedAsync(coordinator, resumed, $"Job \"{resumed}\" succeeded, expected one that failed or was cancelled. Its model is there");
    }

    [TestMethod]
    public async Task Resume_AfterARestart_GoesOnFromItsLastCheckpoint()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        string ended;
        Artifact newest;
        using (var worker = await ConnectAsync(coordinator))
            (ended, newest) = await EndAsync(coordinator, worker, isCancelled: false);
        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();
        using var back = await FakeWorker.ConnectAsync(coordinator);

        var resumed = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }).Within()).JobId;

        var start = await back.ExpectStartAsync();
        Assert.AreEqual((resumed, newest), (start.JobId, start.ResumeFrom));
        Assert.AreEqual(0L, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = ended }).Within()).KeptStep);
    }

    [TestMethod]
    public async Task Resume_StartingModelGone_GoesOnFromItsCheckpoint()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var worker = await ConnectAsync(coordinator);
        var (least, _) = Protocol.Onnx.OnnxMlpSize.Of(Specs.Valid());
        var model = await Specs.UploadAsync(coordinator.Blobs, new byte[least]);
        var (ended, newest) = await EndAsync(coordinator, worker, isCancelled: false, new StartingModel { ModelId = model.Id, SizeBytes = least });
        File.Delete(Path.Combine(coordinator.DataFolder, "blobs", model.Id));

        var resumed = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }).Within()).JobId;

        var start = await worker.ExpectStartAsync();
        Assert.AreEqual((resumed, newest, model.Id), (start.JobId, start.ResumeFrom, start.Spec.StartFrom.ModelId));
    }

    [TestMethod]
    public async Task Resume_JobThatWasResumedAndFailedAgain_NamesTheLater()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var worker = await ConnectAsync(coordinator);
        var (ended, newest) = await EndAsync(coordinator, worker, isCancelled: false);
        var second = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }).Within()).JobId;
        using (var watch = new JobWatch(coordinator, second))
        {
            await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.Training);
            await watch.ToEndAsync();
        }

        await RefusedAsync(coordinator, ended, $"Job \"{ended}\" was resumed as job \"{second}\", which failed. Resume that one.");
        await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = second }).Within();

        Assert.AreEqual(newest, (await worker.ExpectStartAsync()).ResumeFrom, "It had no newer checkpoint.");
    }

    [TestMethod]
    public async Task Resume_WhatCannotBe_SaysWhy()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var worker = await ConnectAsync(coordinator);
        var unknown = await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = new string('0', 32) }).Fails(StatusCode.NotFound);
        StringAssert.Contains(unknown.Status.Detail, "is unknown, expected the id of a job that this key's tenant submitted");

        var jobId = await Specs.SubmitAsync(coordinator);
        await RefusedAsync(coordinator, jobId, "has not ended, expected one that failed or was cancelled. Attach to it, or cancel it first.");
        using var watch = new JobWatch(coordinator, jobId);
        await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.Training);
        await watch.ToEndAsync();
        await RefusedAsync(coordinator, jobId, "has no checkpoint to go on from: it ended before the first, asked for none, or ended more than 7 days ago");
    }

    [TestMethod]
    public async Task Checkpoint_OfAnEndedJob_IsRemovedAfterItsTime()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        string first, second;
        using (var worker = await ConnectAsync(coordinator))
        {
            (first, _) = await EndAsync(coordinator, worker, isCancelled: false);
            (second, _) = await EndAsync(coordinator, worker, isCancelled: true);
        }

        coordinator.Time.Leap(TimeSpan.FromDays(6.9));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.AreEqual("20", await StoredAsync(coordinator));
        var resumed = (await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = second }).Within()).JobId;

        coordinator.Time.Leap(TimeSpan.FromDays(0.2));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();

        Assert.AreEqual("20", await StoredAsync(coordinator), "A living job needs the same.");
        await RefusedAsync(coordinator, first, "ended more than 7 days ago");
        await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = resumed }).Within();
        coordinator.Time.Leap(TimeSpan.FromDays(8));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.AreEqual("", await StoredAsync(coordinator));
    }

    private static async Task<FakeWorker> ConnectAsync(TestCoordinator coordinator)
    {
        await Specs.AddDatasetAsync(coordinator);
        return await FakeWorker.ConnectAsync(coordinator);
    }

    /// <summary>A job with two checkpoints, of steps 10 and 20, whose contents are the steps.</summary>
    private static async Task<(string JobId, Artifact Newest)> EndAsync(TestCoordinator coordinator, FakeWorker worker, bool isCancelled, StartingModel? startFrom = null)
    {
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.Checkpoint, s.StartFrom) = (new CheckpointSpec { IntervalEpochs = 1, KeepLast = 2 }, startFrom)));
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        await worker.CheckpointAsync(start, await Specs.UploadAsync(coordinator, "10"), 10);
        var newest = await Specs.UploadAsync(coordinator, "20");
        await worker.CheckpointAsync(start, newest, 20);
        if (isCancelled)
        {
            await worker.LogAsync(start, "all are told");
            await watch.UntilLogAsync("all are told");
            using var cancelling = coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId });
            await worker.StoppedAsync((await worker.ExpectStopAsync()).AttemptId);
            await cancelling.ResponseAsync.Within();
        }
        else
        {
            await worker.FailAsync(start, FailureKind.Training, message: "The loss is NaN.");
        }

        await watch.ToEndAsync();
        return (jobId, newest);
    }

    private static async Task RefusedAsync(TestCoordinator coordinator, string jobId, string words)
    {
        var refused = await coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = jobId }).Fails(StatusCode.FailedPrecondition);
        StringAssert.Contains(refused.Status.Detail, words);
    }

    private static async Task<string> StoredAsync(TestCoordinator coordinator)
    {
        await coordinator.Get<Journal>().FlushAsync().Within();
        return string.Join(' ', Directory.EnumerateFiles(Path.Combine(coordinator.DataFolder, "blobs")).Select(File.ReadAllText).Order(StringComparer.Ordinal));
    }
}
