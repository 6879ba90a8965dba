using System.Security.Cryptography;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Tests.Store;

/// <summary>A bit of a stored file is another. The coordinator does not believe a file because it is there, and a good copy heals it.</summary>
[TestClass]
public sealed class DamageTests
{
    private static readonly string[] Loopback = ["http://127.0.0.1:0"];

    [TestMethod]
    [DataRow(false, DisplayName = "written to")]
    [DataRow(true, DisplayName = "by the disk itself, and told of by a consumer")]
    public async Task Dataset_Damaged_IsNotThereAndIsHealedByAnUpload(bool isSilent)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 2);
        await UploadAsync(coordinator.Connect(), data);
        Flip(PathOf(coordinator, data.Id), isSilent);

        if (isSilent)
        {
            Assert.IsTrue((await FindAsync(coordinator.Connect(), data.Id)).Complete, "Nobody has read it since.");
            using var doubt = coordinator.Blobs.Download(new DownloadRequest { Id = data.Id, Kind = BlobKind.Dataset, IsDoubted = true });
            var error = await doubt.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.DataLoss);
            StringAssert.Contains(error.Status.Detail, $"Dataset \"{data.Id}\" was damaged on the coordinator's disk and is removed");
        }

        var found = await FindAsync(coordinator.Connect(), data.Id);
        Assert.AreEqual((false, 0L), (found.Complete, found.ReceivedBatches));
        Assert.IsFalse(File.Exists(PathOf(coordinator, data.Id)));
        await UploadAsync(coordinator.Connect(), data);
        Assert.IsTrue((await FindAsync(coordinator.Connect(), data.Id)).Complete);
        await AssertWholeAsync(coordinator, data.Id);
    }

    [TestMethod]
    public async Task Dataset_DamagedWhileTheCoordinatorWasDown_IsNotThere()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 2);
        await UploadAsync(coordinator.Connect(), data);
        await coordinator.StopServerAsync();
        Flip(PathOf(coordinator, data.Id), isSilent: true);
        await coordinator.StartServerAsync();

        Assert.IsFalse((await FindAsync(coordinator.Connect(), data.Id)).Complete);
    }

    [TestMethod]
    public async Task Dataset_Damaged_IsHealedByAnotherTenantWhoSendsIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var data = new TestData(batches: 2);
        var (first, second) = (Connect("first"), Connect("second"));
        await UploadAsync(first, data);
        Flip(PathOf(coordinator, data.Id), isSilent: true);

        await UploadAsync(second, data); // who does not own it is not told that it is there

        await AssertWholeAsync(coordinator, data.Id);
        Assert.IsTrue((await FindAsync(first, data.Id)).Complete);

        ClusterConnection Connect(string tenant) => coordinator.ConnectByKey(CoordinatorAdministration.CreateKey(coordinator.DataFolder, tenant, tenant, Scopes.Submit | Scopes.Read));
    }

    [TestMethod]
    public async Task Job_OnADamagedDataset_IsNotAccepted()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        Flip(PathOf(coordinator, Specs.DatasetId), isSilent: false);

        var error = await coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Specs.Valid() }).Fails(StatusCode.FailedPrecondition);

        StringAssert.Contains(error.Status.Detail, $"Dataset \"{Specs.DatasetId}\" is not in the store");
    }

    [TestMethod]
    public async Task Job_WhoseDatasetIsLost_FailsWithoutAnotherAttempt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));

        await worker.FailAsync(await worker.ExpectStartAsync(), FailureKind.DatasetLost, message: "It is damaged.");

        var end = (await watch.ToEndAsync()).State;
        Assert.AreEqual((JobState.Failed, FailureKind.DatasetLost, "It is damaged."), (end.State, end.Failure.Kind, end.Reason));
    }

    [TestMethod]
    [DataRow(false, DisplayName = "a flipped bit")]
    [DataRow(true, DisplayName = "cut")]
    public async Task Blob_Damaged_IsNamedAndIsHealedByAnUpload(bool isCut)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var artifact = await Specs.UploadAsync(coordinator, "a model");
        var path = Path.Combine(coordinator.DataFolder, "blobs", artifact.Id);
        if (isCut)
            await File.WriteAllTextAsync(path, "a mod");
        else
            Flip(path, isSilent: false);

        for (var time = 0; time < 2; time++)
        {
            using var download = coordinator.Blobs.Download(new DownloadRequest { Id = artifact.Id });
            var error = await download.ResponseStream.MoveNext(CancellationToken.None).Fails(StatusCode.DataLoss);
            StringAssert.Contains(error.Status.Detail, $"Blob \"{artifact.Id}\" was damaged on the coordinator's disk");
        }

        await Specs.UploadAsync(coordinator, "a model");
        using var again = coordinator.Blobs.Download(new DownloadRequest { Id = artifact.Id });
        Assert.IsTrue(await again.ResponseStream.MoveNext(CancellationToken.None).Within());
        Assert.AreEqual("a model", again.ResponseStream.Current.Data.ToStringUtf8());
    }

    [TestMethod]
    public async Task Blob_DamagedByTheDisk_IsHealedByTheNextUploadOfItAfterARestart()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var artifact = await Specs.UploadAsync(coordinator, "a model");
        var path = Path.Combine(coordinator.DataFolder, "blobs", artifact.Id);
        await coordinator.StopServerAsync();
        Flip(path, isSilent: true);
        await coordinator.StartServerAsync();

        await Specs.UploadAsync(coordinator, "a model");

        Assert.AreEqual(artifact.Id, Convert.ToHexStringLower(SHA256.HashData(await File.ReadAllBytesAsync(path))));
    }

    private static string PathOf(TestCoordinator coordinator, string id) => Path.Combine(coordinator.DataFolder, "datasets", id + ".arrow");

    private static Task<FindDatasetReply> FindAsync(ClusterConnection connection, string id) =>
        new Protocol.Datasets.DatasetsClient(connection.Invoker).FindDatasetAsync(new FindDatasetRequest { DatasetId = id }).Within();

    private static async Task UploadAsync(ClusterConnection connection, TestData data)
    {
        using var upload = new FlightUpload(connection.Invoker, data.Id, 0, data.RowCount);
        foreach (var batch in data.Batches)
            await upload.WriteAsync(batch);
        await upload.CompleteAsync();
    }

    private static async Task AssertWholeAsync(TestCoordinator coordinator, string id) =>
        Assert.AreEqual(id, (await DatasetHasher.ReadAsync(PathOf(coordinator, id), CancellationToken.None)).Id.Text);

    // In the middle, which is a value of a row.
    private static void Flip(string path, bool isSilent)
    {
        var written = File.GetLastWriteTimeUtc(path);
        using (var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite))
        {
            file.Position = file.Length / 2;
            var value = file.ReadByte();
            file.Position--;
            file.WriteByte((byte)(value ^ 1));
        }

        File.SetLastWriteTimeUtc(path, isSilent ? written : written.AddSeconds(1));
    }
}
