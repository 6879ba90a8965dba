namespace MLDistributed.Coordinator.Tests.Security;

/// <summary>What one tenant sends, runs and makes does not exist for another.</summary>
[TestClass]
public sealed class TenantTests
{
    [TestMethod]
    public async Task Job_OfAnotherTenant_CannotBeSeenWatchedOrCancelled()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs, admin) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"), Key(coordinator, "ops", Scopes.Admin));
        var data = await UploadAsync(mine, new TestData(batches: 1));

        var jobId = (await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data), RequestId = "r" }).Within()).JobId;

        await Jobs(theirs).GetJobAsync(new GetJobRequest { JobId = jobId }).Fails(StatusCode.NotFound);
        await Jobs(theirs).CancelJobAsync(new CancelJobRequest { JobId = jobId }).Fails(StatusCode.NotFound);
        await Jobs(theirs).ResumeJobAsync(new ResumeJobRequest { JobId = jobId }).Fails(StatusCode.NotFound);
        using (var watch = Jobs(theirs).WatchJob(new WatchJobRequest { JobId = jobId }))
            await watch.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.NotFound);
        Assert.IsEmpty((await Jobs(theirs).ListJobsAsync(new ListJobsRequest()).Within()).Jobs);
        Assert.HasCount(1, (await Jobs(admin).ListJobsAsync(new ListJobsRequest()).Within()).Jobs);
        Assert.AreEqual(JobState.Queued, (await Jobs(mine).GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).State);
    }

    [TestMethod]
    public async Task Job_ThatEndedBeforeARestart_IsStillItsTenantsAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var mine = Tenant(coordinator, "a");
        var data = await UploadAsync(mine, new TestData(batches: 1));
        var jobId = (await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId;
        await Jobs(mine).CancelJobAsync(new CancelJobRequest { JobId = jobId }).Within();
        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();

        var theirs = Tenant(coordinator, "b");
        await Jobs(theirs).GetJobAsync(new GetJobRequest { JobId = jobId }).Fails(StatusCode.NotFound);
        using var watch = Jobs(theirs).WatchJob(new WatchJobRequest { JobId = jobId });
        await watch.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.NotFound);
    }

    [TestMethod]
    public async Task Dataset_OfAnotherTenant_IsNotThereUntilItIsSentToo()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = new TestData(batches: 2);
        await UploadAsync(mine, data);

        Assert.IsTrue((await Find(mine, data)).Complete);
        Assert.IsFalse((await Find(theirs, data)).Complete, "That it is there is the other tenant's secret.");
        await Download(theirs, data.Id, BlobKind.Dataset).Fails(StatusCode.NotFound);
        var refused = await Jobs(theirs).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Fails(StatusCode.FailedPrecondition);
        StringAssert.Contains(refused.Status.Detail, "is not in the store");
        using (var claim = new FlightUpload(theirs, data.Id, 0, data.RowCount))
        {
            await claim.BeginAsync(data.Schema); // the id without the data
            await claim.CompleteAsync().Fails(StatusCode.DataLoss);
        }

        await UploadAsync(theirs, data);

        Assert.IsTrue((await Find(theirs, data)).Complete);
        await Jobs(theirs).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within();
        Assert.IsTrue((await Find(mine, data)).Complete);
    }

    [TestMethod]
    public async Task Datasets_Listed_AreTheTenantsOwnWithItsOwnTimes()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs, admin) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"), Key(coordinator, "ops", Scopes.Admin));
        var (both, only) = (new TestData(batches: 1), new TestData(batches: 2));
        var start = coordinator.Time.GetUtcNow();
        await UploadAsync(mine, both);
        coordinator.Time.Advance(TimeSpan.FromMinutes(1));
        await UploadAsync(mine, only);
        Assert.IsEmpty(await List(theirs));

        coordinator.Time.Advance(TimeSpan.FromMinutes(1));
        await UploadAsync(theirs, both);

        var (first, second, third) = (start, start + TimeSpan.FromMinutes(1), start + TimeSpan.FromMinutes(2));
        CollectionAssert.AreEqual(new[] { (only.Id, second), (both.Id, first) }, await List(mine));
        CollectionAssert.AreEqual(new[] { (both.Id, third) }, await List(theirs), "When another tenant sent the same is its secret.");
        CollectionAssert.AreEqual(new[] { (only.Id, second), (both.Id, first) }, await List(admin));
        CollectionAssert.AreEqual(new[] { (only.Id, second) }, await List(admin, new ListDatasetsRequest { Limit = 1 }));
        CollectionAssert.AreEqual(new[] { (both.Id, first) }, await List(mine, new ListDatasetsRequest { IdPrefix = both.Id[..8].ToUpperInvariant() }));
        Assert.IsEmpty(await List(theirs, new ListDatasetsRequest { IdPrefix = only.Id[..8] }));
        var shown = (await new Protocol.Datasets.DatasetsClient(theirs).ListDatasetsAsync(new ListDatasetsRequest()).Within()).Datasets.Single();
        Assert.AreEqual(both.RowCount, shown.RowCount);
        Assert.IsGreaterThan(both.RowCount * TestData.FeatureSize * sizeof(float), shown.SizeBytes);

        static async Task<(string Id, DateTimeOffset Sent)[]> List(CallInvoker tenant, ListDatasetsRequest? request = null) =>
            [.. (await new Protocol.Datasets.DatasetsClient(tenant).ListDatasetsAsync(request ?? new ListDatasetsRequest()).Within()).Datasets.Select(d => (d.Id, d.Sent.ToDateTimeOffset()))];
    }

    [TestMethod]
    public async Task Jobs_ByTheFirstDigitsOfTheirIds_AreTheTenantsOwn()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = await UploadAsync(mine, new TestData(batches: 1));
        var jobId = (await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId;
        var other = (await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId;
        var common = string.Concat(jobId.Zip(other).TakeWhile(p => p.First == p.Second).Select(p => p.First));

        Assert.AreEqual(jobId, (await Find(mine, jobId[..(common.Length + 1)].ToUpperInvariant())).Single());
        CollectionAssert.AreEquivalent(new[] { jobId, other }, await Find(mine, common));
        Assert.IsEmpty(await Find(mine, "%"), "No wildcard.");
        Assert.IsEmpty(await Find(theirs, jobId));

        static async Task<string[]> Find(CallInvoker tenant, string start) =>
            [.. (await Jobs(tenant).ListJobsAsync(new ListJobsRequest { IdPrefix = start }).Within()).Jobs.Select(j => j.Id)];
    }

    [TestMethod]
    public async Task Upload_HalfSentByAnotherTenant_IsNotGoneOnWith()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = new TestData(batches: 2);
        using var half = new FlightUpload(mine, data.Id, 0, data.RowCount);
        await half.WriteAsync(data.Batches[0]);
        await Eventually.UntilAsync(coordinator, () => Find(mine, data), found => found.ReceivedBatches == 1);

        Assert.AreEqual(0, (await Find(theirs, data)).ReceivedBatches);
    }

    [TestMethod]
    public async Task Model_OfAnotherTenant_CannotBeDownloaded()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = await UploadAsync(mine, new TestData(batches: 1));
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = (await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId;
        using var watch = new JobWatch(coordinator, jobId);
        var model = await Specs.UploadAsync(coordinator, "model");
        await worker.SucceedAsync(await worker.ExpectStartAsync(), model);
        await watch.ToEndAsync();

        Assert.IsTrue(await Download(mine, model.Id, BlobKind.Artifact).Within());
        await Download(theirs, model.Id, BlobKind.Artifact).Fails(StatusCode.NotFound);
        Assert.IsTrue(await Download(Key(coordinator, "ops", Scopes.Admin), model.Id, BlobKind.Artifact).Within());
    }

    [TestMethod]
    public async Task Jobs_BeyondATenantsNumber_AreRefusedToItAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await coordinator.StopServerAsync();
        coordinator.MaxJobs = 2;
        await coordinator.StartServerAsync();
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = new TestData(batches: 1);
        await UploadAsync(mine, data);
        await UploadAsync(theirs, data);
        var first = await Submit(mine).Within();
        await Submit(mine).Within();

        var refused = await Submit(mine).Fails(StatusCode.ResourceExhausted);

        StringAssert.Contains(refused.Status.Detail, "Tenant \"a\" has 2 jobs that wait or run, expected at most 2 (--max-jobs)");
        Assert.IsNull(Pushback.Of(refused), "It would not help to try again.");
        await Submit(theirs).Within();
        await Jobs(mine).CancelJobAsync(new CancelJobRequest { JobId = first.JobId }).Within();
        await Submit(mine).Within();

        AsyncUnaryCall<SubmitJobReply> Submit(CallInvoker tenant) => Jobs(tenant).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) });
    }

    [TestMethod]
    [DataRow(false, "Model \"{0}\" of 300 bytes, which the job starts from, is not in the store")]
    [DataRow(true, "The model's frame \"{0}\" of 300 bytes is not in the store")]
    public async Task FileOfAJob_OfAnotherTenant_IsNotThereUntilItIsSentToo(bool isFrame, string words)
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = new TestData(batches: 1);
        await UploadAsync(mine, data);
        await UploadAsync(theirs, data);
        var content = new byte[300];
        var model = await Specs.UploadAsync(new Protocol.Blobs.BlobsClient(mine), content).Within();
        using var worker = await FakeWorker.ConnectAsync(coordinator);

        StringAssert.Contains((await Submit(theirs, content.Length).Fails(StatusCode.FailedPrecondition)).Status.Detail, string.Format(System.Globalization.CultureInfo.InvariantCulture, words, model.Id));
        StringAssert.Contains((await Submit(mine, content.Length + 1).Fails(StatusCode.FailedPrecondition)).Status.Detail, "of 301 bytes");
        await Specs.UploadAsync(new Protocol.Blobs.BlobsClient(theirs), [], model.Id).Fails(StatusCode.DataLoss); // its id alone proves nothing
        await Submit(theirs, content.Length).Fails(StatusCode.FailedPrecondition);
        await Submit(mine, content.Length).Within();
        await worker.ExpectStartAsync();
        await Specs.UploadAsync(new Protocol.Blobs.BlobsClient(theirs), content).Within();
        await Submit(theirs, content.Length).Within();
        await Specs.UploadAsync(new Protocol.Blobs.BlobsClient(Key(coordinator, "reader", Scopes.Read)), content).Fails(StatusCode.PermissionDenied);

        AsyncUnaryCall<SubmitJobReply> Submit(CallInvoker tenant, long bytes) =>
            Jobs(tenant).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data, s => (s.StartFrom, s.ModelFrame) = (isFrame ? null : new StartingModel { ModelId = model.Id, SizeBytes = bytes }, isFrame ? new ModelFrame { FileId = model.Id, SizeBytes = bytes } : null)) });
    }

    [TestMethod]
    public async Task Job_BehindAnotherTenants_IsNotToldItsName()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"));
        var data = new TestData(batches: 1);
        await UploadAsync(mine, data);
        await UploadAsync(theirs, data);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data, s => s.Resources = new ResourceSpec { MinRanks = 1, MaxRanks = 1 }) }).Within();
        await worker.ExpectStartAsync();
        await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data, s => (s.Name, s.Resources.MinRanks) = ("secret merger", 2)) }).Within();

        var jobId = (await Jobs(theirs).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId;

        using var watch = new JobWatch(coordinator, jobId);
        Assert.AreEqual("waits behind another tenant's job, which came first", (await watch.UntilAsync(JobState.Queued, "behind")).State.Reason);
    }

    [TestMethod]
    public async Task Cluster_SeenByATenant_IsItsOwnAndOfOthersCountsAndKinds()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var (mine, theirs, admin) = (Tenant(coordinator, "a"), Tenant(coordinator, "b"), Key(coordinator, "ops", Scopes.Admin));
        var data = await UploadAsync(mine, new TestData(batches: 1));
        using var worker = await FakeWorker.ConnectAsync(coordinator, slots: 1);
        await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within();
        await worker.ExpectStartAsync();
        await Jobs(mine).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within();

        Assert.AreEqual((1, 1, "w1", "host-w1"), await Seen(mine));
        Assert.AreEqual((0, 0, "", ""), await Seen(theirs));
        Assert.AreEqual((1, 1, "w1", "host-w1"), await Seen(admin));
        var others = (await Jobs(theirs).GetClusterAsync(new GetClusterRequest()).Within()).Workers.Single();
        Assert.AreEqual(("busy", DeviceKind.Cpu), (others.Status, others.Devices.Single().Kind));

        static async Task<(int, int, string, string)> Seen(CallInvoker tenant)
        {
            var cluster = await Jobs(tenant).GetClusterAsync(new GetClusterRequest()).Within();
            return (cluster.QueuedJobs, cluster.RunningJobs, cluster.Workers.Single().Id, cluster.Workers.Single().Host);
        }
    }

    [TestMethod]
    public async Task Priority_AboveTheKeys_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var plain = Tenant(coordinator, "a");
        var urgent = coordinator.ConnectByKey(CoordinatorAdministration.CreateKey(coordinator.DataFolder, "urgent", "a", Scopes.Submit, maxPriority: 5)).Invoker;
        var data = await UploadAsync(plain, new TestData(batches: 1));

        var refused = await Submit(plain, 1).Fails(StatusCode.InvalidArgument);
        StringAssert.Contains(refused.Status.Detail, "Priority is 1, expected at most 0, the highest that key \"a\" may ask for.");
        await Submit(plain, -1).Within();
        await Submit(urgent, 5).Within();
        await Submit(urgent, 6).Fails(StatusCode.InvalidArgument);
        CollectionAssert.AreEquivalent(new[] { 0, 5 }, CoordinatorAdministration.ListKeys(coordinator.DataFolder).Select(k => k.MaxPriority).ToArray());

        AsyncUnaryCall<SubmitJobReply> Submit(CallInvoker tenant, int priority) =>
            Jobs(tenant).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data, s => s.Priority = priority) });
    }

    [TestMethod]
    public async Task Key_Revoked_EndsItsWatchAndItsUpload()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "a", "a", Scopes.Submit);
        var (tenant, other) = (coordinator.ConnectByKey(key).Invoker, Tenant(coordinator, "b"));
        var data = await UploadAsync(tenant, new TestData(batches: 1));
        await UploadAsync(other, data);
        using var watch = Jobs(tenant).WatchJob(new WatchJobRequest { JobId = (await Jobs(tenant).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId });
        using var othersWatch = Jobs(other).WatchJob(new WatchJobRequest { JobId = (await Jobs(other).SubmitJobAsync(new SubmitJobRequest { Spec = Spec(data) }).Within()).JobId });
        var more = new TestData(batches: 2);
        using var upload = new FlightUpload(tenant, more.Id, 0, more.RowCount);
        await upload.WriteAsync(more.Batches[0]);
        await Eventually.UntilAsync(coordinator, () => Find(tenant, more), found => found.ReceivedBatches == 1);

        var id = CoordinatorAdministration.ListKeys(coordinator.DataFolder).Single(k => k.Name == "a").Id;
        Assert.IsTrue(CoordinatorAdministration.RevokeKey(coordinator.DataFolder, id));
        var ended = EndAsync(watch);
        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), async () =>
        {
            await Task.WhenAny(ended, coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within());
            return ended.IsCompleted;
        }, over => over);

        Assert.AreEqual(StatusCode.Unauthenticated, (await ended).StatusCode);
        await upload.CompleteAsync().Fails(StatusCode.Unauthenticated);
        Assert.IsTrue(await othersWatch.ResponseStream.MoveNext(CancellationToken.None).Within(), "Another key's goes on.");

        static async Task<RpcException> EndAsync(AsyncServerStreamingCall<JobEvent> watch) => await Assert.ThrowsExactlyAsync<RpcException>(async () =>
        {
            while (await watch.ResponseStream.MoveNext(CancellationToken.None))
            {
            }
        });
    }

    private static CallInvoker Tenant(TestCoordinator coordinator, string tenant) => Key(coordinator, tenant, Scopes.Submit);

    private static CallInvoker Key(TestCoordinator coordinator, string tenant, Scopes scopes) =>
        coordinator.ConnectByKey(CoordinatorAdministration.CreateKey(coordinator.DataFolder, tenant, tenant, scopes)).Invoker;

    private static Protocol.Jobs.JobsClient Jobs(CallInvoker tenant) => new(tenant);

    private static async Task<FindDatasetReply> Find(CallInvoker tenant, TestData data) =>
        await new Protocol.Datasets.DatasetsClient(tenant).FindDatasetAsync(new FindDatasetRequest { DatasetId = data.Id }).Within();

    private static async Task<TestData> UploadAsync(CallInvoker tenant, TestData data)
    {
        using var upload = new FlightUpload(tenant, data.Id, 0, data.RowCount);
        foreach (var batch in data.Batches)
            await upload.WriteAsync(batch);
        await upload.CompleteAsync();
        return data;
    }

    private static async Task<bool> Download(CallInvoker tenant, string id, BlobKind kind)
    {
        using var call = new Protocol.Blobs.BlobsClient(tenant).Download(new DownloadRequest { Id = id, Kind = kind });
        return await call.ResponseStream.MoveNext(CancellationToken.None);
    }

    private static JobSpec Spec(TestData data, Action<JobSpec>? change = null) => Specs.Valid(change: s =>
    {
        (s.Data.DatasetId, s.Data.RowCount) = (data.Id, data.RowCount);
        change?.Invoke(s);
    });
}
