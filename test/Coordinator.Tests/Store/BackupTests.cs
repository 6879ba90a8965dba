using System.Security.Cryptography;
using System.Text;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Store;

/// <summary>A data folder is backed up while its coordinator runs, and another starts with it.</summary>
[TestClass]
public sealed class BackupTests
{
    [TestMethod]
    public async Task Backup_OfARunningCoordinator_IsAllThatItKnew()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var job = await Specs.SubmitAsync(coordinator);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "k", "t", Scopes.Read);
        var model = await Specs.UploadAsync(coordinator, "a model");
        var backup = Folder();

        var made = CoordinatorAdministration.MakeBackup(coordinator.DataFolder, backup, CancellationToken.None);
        await coordinator.StopServerAsync();

        Assert.AreEqual((2, 0), (made.Copied, made.Kept));
        using (var data = DataFolder.Open(backup))
            Assert.IsNull(data.WasOpenTo, "others could read it");
        var socket = coordinator.SocketPath;
        await using var restored = await CoordinatorServer.StartAsync(new CoordinatorOptions { DataFolder = backup, SocketPath = socket }, CancellationToken.None).Within();
        Assert.AreEqual(JobState.Queued, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = job }).Within()).State);
        Assert.AreEqual("k", CoordinatorAdministration.ListKeys(backup).Single(k => k.Tenant == "t").Name);
        Assert.IsNotEmpty(key);
        using var download = coordinator.Blobs.Download(new DownloadRequest { Id = model.Id });
        var bytes = new MemoryStream();
        while (await download.ResponseStream.MoveNext(CancellationToken.None).Within())
            bytes.Write(download.ResponseStream.Current.Data.Span);
        Assert.AreEqual("a model", Encoding.UTF8.GetString(bytes.ToArray()));
    }

    [TestMethod]
    public async Task Backup_AgainIntoTheSameFolder_CopiesWhatIsNewAndForgetsNothing()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.UploadAsync(coordinator, "first");
        var backup = Folder();
        CoordinatorAdministration.MakeBackup(coordinator.DataFolder, backup, CancellationToken.None);
        await Specs.UploadAsync(coordinator, "second");
        CoordinatorAdministration.CreateKey(coordinator.DataFolder, "later", "t", Scopes.Read);

        var made = CoordinatorAdministration.MakeBackup(coordinator.DataFolder, backup, CancellationToken.None);

        Assert.AreEqual(new BackupResult(1, 1, "second".Length), made);
        Assert.IsTrue(CoordinatorAdministration.ListKeys(backup).Any(k => k.Name == "later"), "the database is that of before");
        Assert.IsTrue(File.Exists(Path.Combine(backup, "blobs", Convert.ToHexStringLower(SHA256.HashData("first"u8)))));
        Assert.IsEmpty(Directory.GetFiles(backup, "tmp-*", SearchOption.AllDirectories));
    }

    [TestMethod]
    public async Task Backup_IntoACoordinatorsFolderOrNone_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await using var other = await TestCoordinator.StartAsync();

        foreach (var (to, why) in new[] { (coordinator.DataFolder, "is in the data folder"), (Path.Combine(coordinator.DataFolder, "b"), "is in the data folder"), (other.DataFolder, "is a coordinator's data folder"), ("/proc/backup", "cannot be made") })
        {
            var error = Assert.ThrowsExactly<IOException>(() => CoordinatorAdministration.MakeBackup(coordinator.DataFolder, to, CancellationToken.None));
            StringAssert.Contains(error.Message, why);
        }
    }

    private static string Folder() => Path.Combine(Directory.CreateTempSubdirectory("coord-").FullName, "backup");
}
