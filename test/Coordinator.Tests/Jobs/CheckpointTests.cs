using MLDistributed.Coordinator.Retention;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class CheckpointTests
{
    [TestMethod]
    [DataRow(0, "40")]
    [DataRow(1, "40")]
    [DataRow(2, "30 40")]
    [DataRow(9, "10 20 30 40")]
    public async Task Checkpoints_MoreThanAreKept_TheOlderAreDropped(int keepLast, string kept)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var (_, watch, start) = await StartAsync(coordinator, worker, keepLast);
        using var watching = watch;

        await SaveAsync(coordinator, worker, start, 10, 20, 30, 40);
        await worker.LogAsync(start, "all are told");
        await watch.UntilLogAsync("all are told");
        Assert.AreEqual(kept, await StoredAsync(coordinator));

        // A month on, too, while the job lives.
        coordinator.Time.Leap(TimeSpan.FromDays(31));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.AreEqual(kept, await StoredAsync(coordinator));
    }

    [TestMethod]
    public async Task Checkpoint_Damaged_TheJobGoesOnFromTheOneBeforeAndThenFromTheBeginning()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        // Of two attempts the first crashes; those that find a damaged checkpoint are none of the two.
        var (_, watch, first) = await StartAsync(coordinator, worker, keepLast: 2, maxAttempts: 2);
        using var watching = watch;
        var saved = await SaveAsync(coordinator, worker, first, 10, 20, 30);
        await worker.FailAsync(first, FailureKind.Crashed, step: 35);

        var second = await worker.ExpectStartAsync();
        Assert.AreEqual(saved[2], second.ResumeFrom);
        await worker.FailAsync(second, FailureKind.CheckpointDamaged, message: "A byte is another.");
        await watch.UntilLogAsync("The checkpoint of step 30 is damaged. Training goes on from the checkpoint of step 20.");
        Assert.AreEqual(LogLevel.Warning, watch.Seen[^1].Log.Level);
        await watch.UntilAsync(JobState.Recovering, "A byte is another. Attempt 3 follows, from the checkpoint of step 20.");

        var third = await worker.ExpectStartAsync();
        Assert.AreEqual((saved[1], 3), (third.ResumeFrom, third.Attempt));
        Assert.AreEqual("20", await StoredAsync(coordinator));
        await worker.FailAsync(third, FailureKind.CheckpointDamaged);
        await watch.UntilLogAsync("The checkpoint of step 20 is damaged. Training goes on from the beginning.");

        var fourth = await worker.ExpectStartAsync();
        Assert.IsNull(fourth.ResumeFrom);
        Assert.AreEqual("", await StoredAsync(coordinator));
        await worker.FailAsync(fourth, FailureKind.Crashed, step: 5, message: "It broke.");
        var last = await watch.ToEndAsync();
        Assert.AreEqual((JobState.Failed, "It broke. That was the last of 2 attempts that were lost without progress between them (MaxAttempts)."), (last.State.State, last.State.Reason));
    }

    [TestMethod]
    public async Task Checkpoint_SavedAfterADamagedOne_IsGoneOnFrom()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var (_, watch, first) = await StartAsync(coordinator, worker, keepLast: 2, maxAttempts: 3);
        using var watching = watch;
        await SaveAsync(coordinator, worker, first, 10, 20);
        await worker.FailAsync(first, FailureKind.Crashed, step: 25);
        await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.CheckpointDamaged);

        var third = await worker.ExpectStartAsync();
        // Of a lower step than the damaged one.
        var again = await SaveAsync(coordinator, worker, third, 15);
        await worker.FailAsync(third, FailureKind.Crashed, step: 16);
        await watch.UntilAsync(JobState.Recovering, "Attempt 4 follows; 2 of 3 were lost without progress.");
        coordinator.Time.Advance(TimeSpan.FromSeconds(1));
        await worker.BeatAsync(coordinator);

        Assert.AreEqual(again[0], (await worker.ExpectStartAsync()).ResumeFrom);
        Assert.AreEqual("10 15", await StoredAsync(coordinator));
    }

    [TestMethod]
    public async Task Checkpoint_DamagedAfterARestartOfTheCoordinator_TheOneBeforeIsStillKnown()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        string jobId;
        StartAttempt start;
        Artifact[] saved;
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            (jobId, var before, start) = await StartAsync(coordinator, worker, keepLast: 2);
            using var watching = before;
            saved = await SaveAsync(coordinator, worker, start, 10, 20);
            await worker.LogAsync(start, "all are told");
            await before.UntilLogAsync("all are told");
            await coordinator.StopServerAsync();
        }

        await coordinator.StartServerAsync();
        using var watch = new JobWatch(coordinator, jobId);
        using var back = await FakeWorker.ConnectAsync(coordinator, running: start.AttemptId);
        await back.FailAsync(start, FailureKind.Crashed, step: 25);
        var second = await back.ExpectStartAsync();
        Assert.AreEqual(saved[1], second.ResumeFrom);
        await back.FailAsync(second, FailureKind.CheckpointDamaged);

        var third = await back.ExpectStartAsync();
        Assert.AreEqual(saved[0], third.ResumeFrom);
        await back.SucceedAsync(third);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
        Assert.AreEqual("", await StoredAsync(coordinator), "The checkpoints of an ended job stay.");
    }

    [TestMethod]
    public async Task Checkpoint_DamagedThoughThereWasNone_FailsTheJob()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var (_, watch, start) = await StartAsync(coordinator, worker, keepLast: 2);
        using var watching = watch;

        await worker.FailAsync(start, FailureKind.CheckpointDamaged, message: "A byte is another.");

        var last = await watch.ToEndAsync();
        Assert.AreEqual((JobState.Failed, "A byte is another."), (last.State.State, last.State.Reason));
    }

    private static async Task<(string JobId, JobWatch Watch, StartAttempt Start)> StartAsync(TestCoordinator coordinator, FakeWorker worker, int keepLast, int maxAttempts = 3)
    {
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.Checkpoint, s.MaxAttempts) = (new CheckpointSpec { IntervalEpochs = 1, KeepLast = keepLast }, maxAttempts)));
        var start = await worker.ExpectStartAsync();
        await worker.StartedAsync(start);
        return (jobId, new JobWatch(coordinator, jobId), start);
    }

    /// <summary>Stores a checkpoint for each step, whose content is the step.</summary>
    private static async Task<Artifact[]> SaveAsync(TestCoordinator coordinator, FakeWorker worker, StartAttempt start, params int[] steps)
    {
        var saved = new List<Artifact>();
        foreach (var step in steps)
        {
            saved.Add(await Specs.UploadAsync(coordinator, $"{step}"));
            await worker.CheckpointAsync(start, saved[^1], step);
        }

        return [.. saved];
    }

    private static async Task<string> StoredAsync(TestCoordinator coordinator)
    {
        await coordinator.Get<Journal>().FlushAsync().Within();
        return string.Join(' ', Directory.EnumerateFiles(Path.Combine(coordinator.DataFolder, "blobs")).Select(File.ReadAllText).Order(StringComparer.Ordinal));
    }
}
