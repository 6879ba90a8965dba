using MLDistributed.Coordinator.Retention;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Retention;

[TestClass]
public sealed class RetentionServiceTests
{
    [TestMethod]
    public async Task Collect_AfterThePeriod_KeepsWhatALivingJobNeeds()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var model = await Specs.UploadAsync(coordinator, "a model that nobody fetched");
        await Specs.SubmitAsync(coordinator);
        await coordinator.Get<Journal>().FlushAsync().Within();
        coordinator.Time.Advance(TimeSpan.FromDays(31));

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();

        Assert.IsFalse(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }

    [TestMethod]
    public async Task History_OfAJobThatEndedLongAgo_IsRemoved()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var old = await EndAsync(coordinator, worker);
        coordinator.Time.Advance(TimeSpan.FromDays(20));
        using var back = await FakeWorker.ConnectAsync(coordinator);
        var recent = await EndAsync(coordinator, back);

        coordinator.Time.Advance(TimeSpan.FromDays(11));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None);

        await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = old }).Fails(StatusCode.NotFound);
        await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = recent }).Within();
        using var context = coordinator.Get<ClusterDatabase>().NewContext();
        foreach (var jobs in new[] { context.Jobs.Select(j => j.Id), context.JobEvents.Select(e => e.JobId), context.JobTransitions.Select(t => t.JobId), context.Attempts.Select(a => a.JobId) })
            CollectionAssert.AreEqual(new[] { recent }, jobs.Distinct().ToArray());
    }

    private static async Task<string> EndAsync(TestCoordinator coordinator, FakeWorker worker)
    {
        var jobId = await Specs.SubmitAsync(coordinator, requestId: Guid.NewGuid().ToString());
        using var watch = new JobWatch(coordinator, jobId);
        await worker.SucceedAsync(await worker.ExpectStartAsync());
        await watch.ToEndAsync();
        return jobId;
    }
}
