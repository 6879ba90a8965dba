using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;

namespace MLDistributed.Coordinator.Tests.Security;

/// <summary>A worker fetches, stores and names what belongs to the attempts it was given, and nothing else.</summary>
[TestClass]
public sealed class WorkerFilesTests
{
    [TestMethod]
    public async Task Worker_WithAnAttempt_FetchesItsDataAndNothingElse()
    {
        await using var coordinator = await StartAsync();
        var other = TestDatasets.Make(seed: 1);
        await AdoptAsync(coordinator, other);
        var foreign = await Specs.UploadAsync(coordinator, "another tenant's model");
        var (credential, id) = await JoinAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(credential, id, 2);
        await Download(credential, Specs.DatasetId, BlobKind.Dataset).Fails(StatusCode.NotFound);
        var model = await Specs.UploadAsync(coordinator, new string('m', 300));

        var frame = await Specs.UploadAsync(coordinator, "what the app alone needs");

        await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.StartFrom, s.ModelFrame) = (new StartingModel { ModelId = model.Id, SizeBytes = model.SizeBytes }, new ModelFrame { FileId = frame.Id, SizeBytes = frame.SizeBytes })));
        Assert.IsNull((await worker.ExpectStartAsync()).Spec.ModelFrame);

        Assert.IsTrue(await Download(credential, Specs.DatasetId, BlobKind.Dataset).Within());
        Assert.IsTrue(await Download(credential, model.Id, BlobKind.Artifact).Within());
        await Download(credential, other.Id, BlobKind.Dataset).Fails(StatusCode.NotFound);
        await Download(credential, foreign.Id, BlobKind.Artifact).Fails(StatusCode.NotFound);
        await Download(credential, frame.Id, BlobKind.Artifact).Fails(StatusCode.NotFound);
    }

    [TestMethod]
    public async Task Worker_WithoutAnAttempt_StoresNothing()
    {
        await using var coordinator = await StartAsync();
        var (credential, id) = await JoinAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(credential, id, 2);

        var refused = await UploadAsync(credential, "anything").Fails(StatusCode.PermissionDenied);

        StringAssert.Contains(refused.Status.Detail, "has no attempt it could belong to");
    }

    [TestMethod]
    public async Task Worker_NamingAFileThatItDidNotSend_IsNotBelieved()
    {
        await using var coordinator = await StartAsync();
        var foreign = await Specs.UploadAsync(coordinator, "another tenant's model");
        var (credential, id) = await JoinAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(credential, id, 2);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();

        await UploadAsync(credential, "something else", foreign.Id).Fails(StatusCode.DataLoss); // its id alone proves nothing
        await worker.CheckpointAsync(start, foreign, 10);
        await watch.UntilLogAsync("Checkpoint of step 10 is not in the store, expected it uploaded before it is told. Those before stay.");
        await worker.SucceedAsync(start, foreign);

        StringAssert.Contains((await watch.UntilAsync(JobState.Recovering)).State.Reason, "artifact \"file0\", which is not in the store");
    }

    [TestMethod]
    public async Task Worker_NamingWhatItSent_IsBelievedAfterARestartToo()
    {
        await using var coordinator = await StartAsync();
        await Specs.UploadAsync(coordinator, "model"); // the same as another's
        var (credential, id) = await JoinAsync(coordinator);
        Artifact checkpoint, model;
        StartAttempt start;
        string jobId;
        using (var worker = await FakeWorker.ConnectAsync(credential, id, 2))
        {
            jobId = await Specs.SubmitAsync(coordinator);
            start = await worker.ExpectStartAsync();
            await worker.StartedAsync(start);
            checkpoint = await UploadAsync(credential, "checkpoint").Within();
            model = await UploadAsync(credential, "model").Within();
            await worker.CheckpointAsync(start, checkpoint, 10);
        }

        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();
        credential = coordinator.ConnectByKey(_secret).Invoker;
        using var back = await FakeWorker.ConnectAsync(credential, id, 2, start.AttemptId);
        Assert.IsTrue(await Download(credential, checkpoint.Id, BlobKind.Artifact).Within());
        await back.SucceedAsync(start, model);

        using var watch = new JobWatch(coordinator, jobId);
        Assert.AreEqual(JobState.Succeeded, (await watch.ToEndAsync()).State.State);
    }

    private string _secret = "";

    private static async Task<TestCoordinator> StartAsync()
    {
        var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await Specs.AddDatasetAsync(coordinator);
        return coordinator;
    }

    private async Task<(CallInvoker Credential, string Id)> JoinAsync(TestCoordinator coordinator)
    {
        var token = CoordinatorAdministration.CreateJoinToken(coordinator.DataFolder);
        var joined = await new Protocol.Workers.WorkersClient(coordinator.ConnectByKey(null).Invoker).JoinAsync(new JoinRequest { Token = token, Host = "a" }).Within();
        _secret = joined.Credential;
        return (coordinator.ConnectByKey(joined.Credential).Invoker, joined.WorkerId);
    }

    private static async Task AdoptAsync(TestCoordinator coordinator, TestDataset data)
    {
        var found = await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = data.Id }).Within();
        var path = Path.Combine(found.IncomingFolder, "other.arrow");
        await File.WriteAllBytesAsync(path, data.File);
        await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = data.Id, Path = path, RowCount = TestDatasets.Rows }).Within();
    }

    private static async Task<Artifact> UploadAsync(CallInvoker invoker, string content, string? id = null)
    {
        var bytes = Encoding.UTF8.GetBytes(content);
        using var call = new Protocol.Blobs.BlobsClient(invoker).Upload();
        await Bounded.WrittenOrAnswered(call.RequestStream.WriteAsync(new Chunk { Id = id ?? Convert.ToHexStringLower(SHA256.HashData(bytes)), TotalBytes = bytes.Length, Data = ByteString.CopyFrom(bytes) }));
        await Bounded.WrittenOrAnswered(call.RequestStream.CompleteAsync());
        return (await call.ResponseAsync).Artifact;
    }

    private static async Task<bool> Download(CallInvoker invoker, string id, BlobKind kind)
    {
        using var call = new Protocol.Blobs.BlobsClient(invoker).Download(new DownloadRequest { Id = id, Kind = kind });
        return await call.ResponseStream.MoveNext(CancellationToken.None);
    }
}
