using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using Worker.Tests.Fakes;

namespace Worker.Tests.Transfers;

[TestClass]
public sealed class DatasetCacheTests
{
    [TestMethod]
    public async Task Download_BreaksOff_GoesOnWhereItWasAndIsKept()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.Coordinator.BreakDownloadAfter = 2000;
        var id = await fixture.AddDatasetAsync();
        fixture.StartAttempt("l1", "progress", id, ranks: 1);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("l1")).OutcomeCase);
        fixture.StartAttempt("l2", "progress", id, ranks: 1);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("l2")).OutcomeCase);

        CollectionAssert.AreEqual(new[] { 0L, 2000L }, fixture.Coordinator.Downloads.Select(d => d.Offset).ToList());
        CollectionAssert.AreEqual(fixture.Coordinator.Datasets[id], await File.ReadAllBytesAsync(CachedPath(fixture, id)));
    }

    [TestMethod]
    public async Task Download_OfOtherContent_FailsAsInvalid()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        var (id, _) = await TestDatasets.CreateAsync(rows: 100);
        var (other, content) = await TestDatasets.CreateAsync(rows: 100, first: 1);
        fixture.Coordinator.Datasets[id] = content;
        fixture.StartAttempt("m1", "progress", id, ranks: 1);
        var failure = (await fixture.EndOfAsync("m1")).Failure;

        Assert.AreEqual(FailureKind.Invalid, failure.Kind);
        StringAssert.Contains(failure.Message, $"\"{id}\" came with the content of \"{other}\"");
        Assert.IsFalse(File.Exists(CachedPath(fixture, id)));
        CollectionAssert.AreEqual(new[] { false, true }, fixture.Coordinator.Downloads.Select(d => d.IsDoubted).ToList(), "The store is asked to look at its own.");
    }

    [TestMethod]
    public async Task Download_LeftoverIsDamaged_StartsAgain()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        var id = await fixture.AddDatasetAsync();
        await File.WriteAllBytesAsync(CachedPath(fixture, id) + ".partial", new byte[1500]);
        fixture.StartAttempt("n1", "progress", id, ranks: 1);

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("n1")).OutcomeCase);
        CollectionAssert.AreEqual(new[] { 1500L, 0L }, fixture.Coordinator.Downloads.Select(d => d.Offset).ToList());
    }

    [TestMethod]
    public async Task Dataset_NotInTheStore_FailsAsLost()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.StartAttempt("o1", "progress", new string('0', 64), ranks: 1);
        Assert.AreEqual(FailureKind.DatasetLost, (await fixture.EndOfAsync("o1")).Failure.Kind);
    }

    [TestMethod]
    public async Task Dataset_InSharedStore_IsUsedThere()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        var id = await fixture.AddDatasetAsync();
        var store = Directory.CreateDirectory(Path.Combine(Path.GetDirectoryName(fixture.Coordinator.SocketPath)!, "store", "datasets"));
        await File.WriteAllBytesAsync(Path.Combine(store.FullName, $"{id}.arrow"), fixture.Coordinator.Datasets[id]);
        fixture.Coordinator.SharedStore = store.Parent!.FullName;
        fixture.StartAgent(slots: 1);
        await fixture.Coordinator.HearAsync(m => m.Hello);
        fixture.StartAttempt("p1", "progress", id, ranks: 1);

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("p1")).OutcomeCase);
        Assert.AreEqual(fixture.Coordinator.Datasets[id].Length, fixture.Coordinator.Downloads.Single().Offset, "The store is asked whether it is whole, from its end on.");
    }

    [TestMethod]
    [DataRow(false, DisplayName = "written to")]
    [DataRow(true, DisplayName = "since the agent before")]
    public async Task Cache_FileIsDamaged_IsFetchedAgain(bool isRestarted)
    {
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1 << 30);
        var id = await cache.AddDatasetAsync(1);
        var path = await cache.UseAsync(id);
        var (good, written) = (await File.ReadAllBytesAsync(path), File.GetLastWriteTimeUtc(path));
        var bad = good.ToArray();
        bad[bad.Length / 2] ^= 1;
        await File.WriteAllBytesAsync(path, bad);
        File.SetLastWriteTimeUtc(path, isRestarted ? written : written.AddSeconds(1));
        if (isRestarted)
            cache.Restart();

        await cache.UseAsync(id);

        CollectionAssert.AreEqual(good, await File.ReadAllBytesAsync(path));
    }

    [TestMethod]
    public async Task Cache_Full_DropsTheLeastRecentlyUsedButNoneInUse()
    {
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1);
        var (first, second, third) = (await cache.AddDatasetAsync(1), await cache.AddDatasetAsync(2), await cache.AddDatasetAsync(3));
        await cache.UseAsync(first);
        await cache.UseAsync(second);
        CollectionAssert.AreEquivalent(new[] { first, second }, cache.Files(), "Both are in use, whatever they take.");

        cache.Release(first);
        await cache.UseAsync(third);

        CollectionAssert.AreEquivalent(new[] { second, third }, cache.Files());
        cache.Release(second);
        cache.Release(third);
        await cache.UseAsync(first);
        CollectionAssert.AreEquivalent(new[] { first }, cache.Files());
    }

    [TestMethod]
    public async Task Cache_UsedFromTheSharedStoreAndAsAFile_CountsBothUses()
    {
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1);
        var (id, other) = (await cache.AddDatasetAsync(1), await cache.AddDatasetAsync(2));
        await cache.UseAsync(id);
        cache.Share(id);
        StringAssert.StartsWith(await cache.UseAsync(id), cache.SharedStore);
        cache.Release(id); // the one of the shared store

        await cache.UseAsync(other);

        CollectionAssert.Contains(cache.Files(), id, "It is still in use.");
    }

    [TestMethod]
    public async Task Disk_Full_DropsWhatNobodyUses()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 1);
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1 << 30, disk.Folder);
        var (old, wanted) = (await cache.AddDatasetAsync(1, rows: 50_000), await cache.AddDatasetAsync(2, rows: 50_000));
        await cache.UseAsync(old);
        cache.Release(old);

        await cache.UseAsync(wanted);

        CollectionAssert.AreEquivalent(new[] { wanted }, cache.Files());
    }

    [TestMethod]
    public async Task Disk_Full_FailsWithPathAndRoomAndLeavesNothing()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 1);
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1 << 30, disk.Folder);
        var id = await cache.AddDatasetAsync(1, rows: 50_000);
        disk.Fill();

        var error = await Assert.ThrowsExactlyAsync<IOException>(() => cache.UseAsync(id));

        StringAssert.Contains(error.Message, $"Dataset \"{id}\" (0.6 MB) cannot be written to \"{disk.Folder}\" (the disk is full, 0.0 MB free)");
        Assert.IsEmpty(Directory.GetFiles(disk.Folder, "*.arrow*"));
    }

    [TestMethod]
    public async Task Disk_FillsDuringADownload_FailsWithPathAndRoomAndLeavesNothing()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 1);
        await using var cache = await CacheFixture.CreateAsync(maxBytes: 1 << 30, disk.Folder);
        var id = await cache.AddDatasetAsync(1, rows: 50_000);

        var error = await Assert.ThrowsExactlyAsync<IOException>(() => cache.UseAsync(id, onProgress: (_, _) => disk.Fill()));

        StringAssert.Contains(error.Message, "the disk is full, 0.0 MB free");
        Assert.IsEmpty(Directory.GetFiles(disk.Folder, "*.arrow*"));
    }

    private static string CachedPath(AgentFixture fixture, string id) => Path.Combine(fixture.WorkFolder, "datasets", $"{id}.arrow");
}
