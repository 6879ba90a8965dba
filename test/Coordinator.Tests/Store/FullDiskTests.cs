using System.Security.Cryptography;
using Google.Protobuf;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Coordinator.Tests.Store;

/// <summary>A coordinator whose disk is full says so, keeps nothing half-written, and goes on when there is room again.</summary>
[TestClass]
public sealed class FullDiskTests
{
    private const int ChunkBytes = 1 << 20;

    [TestMethod]
    public async Task Blob_LargerThanTheDisk_IsRefusedBeforeItIsWritten()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 8);
        await using var coordinator = await TestCoordinator.StartAsync(dataFolder: Path.Combine(disk.Folder, "data"));
        using var upload = coordinator.Blobs.Upload();

        await upload.RequestStream.WriteAsync(new Chunk { Id = new string('a', 64), TotalBytes = 100_000_000, Data = ByteString.CopyFrom(new byte[ChunkBytes]) });

        var error = await upload.ResponseAsync.Fails(StatusCode.ResourceExhausted);
        StringAssert.Contains(error.Status.Detail, $"\" cannot be written to \"{coordinator.DataFolder}/blobs\" (");
        StringAssert.Contains(error.Status.Detail, " MB free), expected room for 100.0 MB");
        Assert.IsEmpty(Directory.GetFiles(Path.Combine(coordinator.DataFolder, "blobs")));
    }

    [TestMethod]
    public async Task Blob_DiskFillsMeanwhile_IsRefusedAndLeavesNothing()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 8);
        await using var coordinator = await TestCoordinator.StartAsync(dataFolder: Path.Combine(disk.Folder, "data"));
        var blobs = Path.Combine(coordinator.DataFolder, "blobs");
        var content = new byte[3 * ChunkBytes];
        using var upload = coordinator.Blobs.Upload();
        await upload.RequestStream.WriteAsync(new Chunk { Id = Convert.ToHexStringLower(SHA256.HashData(content)), TotalBytes = content.Length, Data = ByteString.CopyFrom(content, 0, ChunkBytes) });
        await Eventually.UntilAsync(coordinator, async () =>
        {
            await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
            return Directory.GetFiles(blobs).Sum(f => new FileInfo(f).Length);
        }, length => length == ChunkBytes);
        disk.Fill();

        await Bounded.WrittenOrAnswered(upload.RequestStream.WriteAsync(new Chunk { Data = ByteString.CopyFrom(content, ChunkBytes, ChunkBytes) }));

        var error = await upload.ResponseAsync.Fails(StatusCode.ResourceExhausted);
        StringAssert.Contains(error.Status.Detail, $"cannot be written to \"{blobs}\" (the disk is full, 0.0 MB free)");
        Assert.IsEmpty(Directory.GetFiles(blobs));
    }

    [TestMethod]
    public async Task Dataset_DiskFillsMeanwhile_IsRefusedAndLeavesNothing()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 16);
        await using var coordinator = await TestCoordinator.StartAsync(dataFolder: Path.Combine(disk.Folder, "data"));
        var data = new TestData();
        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        await upload.WriteAsync(data.Batches[0]);
        await Eventually.UntilAsync(
            coordinator,
            () => coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = data.Id }).Within(),
            found => found.ReceivedBatches == 1);
        disk.Fill();

        await upload.WriteAsync(data.Batches[1]);

        var error = await upload.RefusedAsync(StatusCode.ResourceExhausted);
        StringAssert.Contains(error.Status.Detail, $"Dataset \"{data.Id}\" cannot be written to \"{coordinator.DataFolder}/datasets\"");
        Assert.IsEmpty(Directory.GetFileSystemEntries(Path.Combine(coordinator.DataFolder, "datasets")));
    }

    [TestMethod]
    public async Task Database_DiskFull_RefusesJobsTellsWatchersAndGoesOnWithRoom()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 8);
        await using var coordinator = await TestCoordinator.StartAsync(dataFolder: Path.Combine(disk.Folder, "data"));
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, slots: 0);
        var first = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, first);
        await watch.NextAsync();
        disk.Fill();

        var submitting = coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Large(), RequestId = "r1" }).ResponseAsync;
        var refused = submitting.Fails(StatusCode.ResourceExhausted);
        await AdvanceUntilAsync(coordinator, refused);
        var error = await refused;
        StringAssert.Contains(error.Status.Detail, $"The coordinator's database cannot be written to \"{coordinator.DataFolder}\" (the disk is full, 0.0 MB free)");
        var told = await watch.NextAsync();
        while (told.Log is null)
            told = await watch.NextAsync();
        Assert.AreEqual(0, told.Sequence);
        StringAssert.Contains(told.Log.Message, "The coordinator's database cannot be written");
        StringAssert.Contains(told.Log.Message, "Training goes on");

        disk.MakeRoom();
        var again = await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), async () =>
        {
            var submitted = coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Large(), RequestId = "r1" }).ResponseAsync;
            await AdvanceUntilAsync(coordinator, submitted);
            return submitted;
        }, submitted => submitted.IsCompletedSuccessfully);
        var id = (await again).JobId;
        var jobs = (await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within()).Jobs;
        foreach (var job in jobs.Where(j => j.Id != first))
            Assert.AreEqual(job.Id == id ? JobState.Queued : JobState.Cancelled, job.State, "A refused job neither runs behind its submitter's back, nor is it what the same request gets later.");
        Assert.AreNotEqual(0, jobs.Count(j => j.State == JobState.Cancelled));
        await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = first }).Within();
        Assert.AreEqual(JobState.Cancelled, (await watch.ToEndAsync()).State.State, "Who watched meanwhile hears on.");
    }

    [TestMethod]
    public async Task Start_OnAFullDisk_SaysSo()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 1);
        disk.Fill();
        var options = new CoordinatorOptions { DataFolder = Path.Combine(disk.Folder, "data"), SocketPath = Path.Combine(disk.Folder, "c.sock") };

        var error = await Assert.ThrowsAsync<Exception>(() => StartAsync(options));

        StringAssert.Contains(error.Message, options.DataFolder);
        StringAssert.Contains(error.Message, "MB free");
    }

    [TestMethod]
    public async Task Start_OnADamagedDatabase_NamesIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await coordinator.StopServerAsync();
        var database = Path.Combine(coordinator.DataFolder, "coordinator.db");
        await File.WriteAllTextAsync(database, new string('x', 10_000));

        var error = await Assert.ThrowsExactlyAsync<InvalidOperationException>(() => StartAsync(coordinator.Options));

        StringAssert.Contains(error.Message, $"Database \"{database}\" cannot be used");
    }

    // Larger than what the database's log has room for already.
    private static JobSpec Large() => Specs.Valid(change: s =>
    {
        s.Data.Features = new FeatureScaling();
        s.Module.Mlp.InputSize = 100_000;
        s.Data.Features.Mean.AddRange(Enumerable.Repeat(1f, 100_000));
        s.Data.Features.Scale.AddRange(Enumerable.Repeat(1f, 100_000));
    });

    private static async Task AdvanceUntilAsync(TestCoordinator coordinator, Task done) =>
        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), async () =>
        {
            await Task.WhenAny(done, coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within());
            return done.IsCompleted;
        }, over => over);

    private static Task StartAsync(CoordinatorOptions options) => CoordinatorServer.StartAsync(options, CancellationToken.None).Within();
}
