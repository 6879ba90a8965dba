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
        var start = await Specs.UploadAsync(coordinator, new string('m', 300));
        var frame = await Specs.UploadAsync(coordinator, "what stands around the network");
        await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.StartFrom, s.ModelFrame) = (new StartingModel { ModelId = start.Id, SizeBytes = start.SizeBytes }, new ModelFrame { FileId = frame.Id, SizeBytes = frame.SizeBytes })));
        await coordinator.Get<Journal>().FlushAsync().Within();
        coordinator.Time.Leap(TimeSpan.FromDays(31));

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();

        Assert.IsFalse(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", start.Id)));
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", frame.Id)));
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }

    [TestMethod]
    public async Task History_OfAJobThatEndedLongAgo_IsRemoved()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var old = await EndAsync(coordinator, worker);
        coordinator.Time.Leap(TimeSpan.FromDays(20));
        using var back = await FakeWorker.ConnectAsync(coordinator);
        var recent = await EndAsync(coordinator, back);

        coordinator.Time.Leap(TimeSpan.FromDays(11));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None);

        await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = old }).Fails(StatusCode.NotFound);
        await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = recent }).Within();
        using var context = coordinator.Get<ClusterDatabase>().NewContext();
        foreach (var jobs in new[] { context.Jobs.Select(j => j.Id), context.JobEvents.Select(e => e.JobId), context.JobTransitions.Select(t => t.JobId), context.JobDocuments.Select(d => d.JobId), context.Attempts.Select(a => a.JobId) })
            CollectionAssert.AreEqual(new[] { recent }, jobs.Distinct().ToArray());
    }

    [TestMethod]
    public async Task Logs_OfAJobThatEndedAWeekAgo_AreRemovedAndItsStatesStay()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();
        await worker.LogAsync(start, "a line");
        await worker.EpochAsync(start, 0);
        await worker.SucceedAsync(start);
        await watch.ToEndAsync();

        foreach (var (days, lines) in new[] { (6, 1), (2, 0) })
        {
            coordinator.Time.Leap(TimeSpan.FromDays(days));
            await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None);
            using var context = coordinator.Get<ClusterDatabase>().NewContext();
            var events = context.JobEvents.AsEnumerable().Select(e => JobEvent.Parser.ParseFrom(e.Event)).ToList();
            Assert.AreEqual(lines, events.Count(e => e.Log is not null));
            Assert.AreEqual(4, events.Count(e => e.State is not null || e.Epoch is not null), "submitted, placed, an epoch, succeeded");
        }
    }

    [TestMethod]
    public async Task Cache_WhileJobsEnd_NeverHoldsMoreThanItsSize()
    {
        await using var coordinator = await TestCoordinator.StartAsync(cacheBytes: 2 * TestDatasets.Small.File.Length);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        TestDataset[] data = [.. Enumerable.Range(1, 5).Select(seed => TestDatasets.Make(seed))];
        foreach (var dataset in data)
        {
            await AdoptAsync(coordinator, dataset);
            var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Data.DatasetId = dataset.Id), Guid.NewGuid().ToString());
            using var watch = new JobWatch(coordinator, jobId);
            var start = await worker.ExpectStartAsync();
            Assert.IsTrue(IsStored(dataset), "a living job needs it");
            await worker.SucceedAsync(start);
            await watch.ToEndAsync();
            coordinator.Time.Advance(TimeSpan.FromSeconds(1));
        }

        await Eventually.HoldsAsync(() => data.Where(IsStored).SequenceEqual(data[^2..]));

        bool IsStored(TestDataset dataset) => File.Exists(Path.Combine(coordinator.DataFolder, "datasets", dataset.Id + ".arrow"));
    }

    [TestMethod]
    public async Task Cache_OfNoSize_KeepsAModelUntilItIsFetched()
    {
        await using var coordinator = await TestCoordinator.StartAsync(cacheBytes: 0);
        await Specs.AddDatasetAsync(coordinator);
        var model = await Specs.UploadAsync(coordinator, "a model");
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        await worker.SucceedAsync(await worker.ExpectStartAsync(), model);
        await watch.ToEndAsync();

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));

        coordinator.Time.Leap(TimeSpan.FromMinutes(3));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.IsFalse(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));
    }

    [TestMethod]
    public async Task Dataset_ThatAClientWasToldIsHere_StaysUntilItsJobIsSubmitted()
    {
        await using var coordinator = await TestCoordinator.StartAsync(cacheBytes: 0);
        await Specs.AddDatasetAsync(coordinator);
        var path = Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow");

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.IsTrue(File.Exists(path), "just brought");

        var jobId = await Specs.SubmitAsync(coordinator);
        await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = Specs.DatasetId }).Within(); // another client
        await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId }).Within();
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.IsTrue(File.Exists(path), "the other client was told that it is here");

        coordinator.Time.Leap(TimeSpan.FromMinutes(11));
        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();
        Assert.IsFalse(File.Exists(path), "that client left");
    }

    [TestMethod]
    public async Task WallClock_SetForwardByAYear_AgesNothing()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var model = await Specs.UploadAsync(coordinator, "a model");
        await coordinator.Get<Journal>().FlushAsync().Within();
        coordinator.Time.SetWallClock(TimeSpan.FromDays(365));

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();

        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));
    }

    private static async Task AdoptAsync(TestCoordinator coordinator, TestDataset dataset)
    {
        var path = Path.Combine(coordinator.DataFolder, "incoming", "x.arrow");
        await File.WriteAllBytesAsync(path, dataset.File);
        await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = dataset.Id, Path = path, RowCount = TestDatasets.Rows }).Within();
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
