using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Worker.Peers;
using MLDistributed.Worker.Transfers;
using Worker.Tests.Fakes;

namespace Worker.Tests.Peers;

/// <summary>Workers of one attempt that give one another its data.</summary>
[TestClass]
public sealed class SharedDownloadTests
{
    [TestMethod]
    public async Task Data_OfFourWorkers_IsSentByTheCoordinatorOnce()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 4);

        var paths = await Task.WhenAll(Enumerable.Range(0, 4).Select(place => fixture.AcquireAsync(place)));

        foreach (var path in paths)
            CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(path));
        Assert.AreEqual(fixture.Content.Length + 4, fixture.Coordinator.SentBytes, "Each asks for the first byte to hear of the size.");
        Assert.IsTrue(Enumerable.Range(0, 4).All(p => fixture.Said.Any(s => s.StartsWith($"h{p} has the data: 18.0 MB, of which 13.5 MB from other workers", StringComparison.Ordinal))), string.Join('\n', fixture.Said));
        Assert.IsFalse(Enumerable.Range(0, 4).Any(p => Directory.EnumerateFiles(fixture.FolderOf(p), "*.partial*").Any()), "Only the data is left.");
    }

    [TestMethod]
    public async Task Data_ThatAWorkerHas_ComesFromIt()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));
        await fixture.PeersOf(0).DisposeAsync();
        await fixture.PeersOf(1).DisposeAsync();
        File.Delete(Path.Combine(fixture.FolderOf(1), $"{fixture.Id}.arrow"));
        fixture.BeginAttempt();
        var before = fixture.Coordinator.SentBytes;

        var paths = await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(paths[1]));
        Assert.AreEqual(fixture.Content.Length / 2 + 1, fixture.Coordinator.SentBytes - before, 1);
    }

    [TestMethod]
    [DataRow("gone", DisplayName = "nobody listens there")]
    [DataRow("silent", DisplayName = "takes connections and says nothing")]
    [DataRow("unknown", DisplayName = "is not heard of")]
    [DataRow("other", DisplayName = "has another certificate")]
    [DataRow("refused", DisplayName = "knows another key")]
    [DataRow("nonsense", DisplayName = "names no address")]
    [DataRow("elsewhere", DisplayName = "names an address of another network")]
    public async Task Peer_ThatGivesNothing_IsLeftForTheCoordinator(string how)
    {
        using var silent = new TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        await using var fixture = await PeersFixture.CreateAsync(count: 2, (place, offer) => place == 0 ? null : how switch
        {
            "gone" => new DataOffer(offer) { Address = "127.0.0.1:1" },
            "silent" => new DataOffer(offer) { Address = silent.LocalEndpoint.ToString() },
            "other" => new DataOffer(offer) { Fingerprint = new string('0', 64) },
            "refused" => new DataOffer(offer) { Key = new string('0', 64) },
            "elsewhere" => new DataOffer(offer) { Address = "192.0.2.1:7399" },
            "nonsense" => new DataOffer(offer) { Address = "localhost" },
            _ => null,
        });

        var paths = await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(paths[0]));
        Assert.AreEqual(2 * fixture.Content.Length + 2, fixture.Coordinator.SentBytes);
        Assert.AreEqual(how == "elsewhere", fixture.Said.Contains("h0 worker \"h1\" gives its data at 192.0.2.1:7399, expected an address in 127.0.0.0/8 (\"lo\"): nothing is fetched from there. Start both workers with the same --network"), string.Join('\n', fixture.Said));
    }

    // Its file is whole by the time that it is hashed, and is not when the others hear of it.
    [TestMethod]
    public async Task Worker_ThatMustHashItsFileFirst_SaysBeforeThatItHasIt()
    {
        var (path, content) = ("", Array.Empty<byte>());
        await using var fixture = await PeersFixture.CreateAsync(count: 2, (place, offer) =>
        {
            if (place == 1)
                File.WriteAllBytes(path, content);
            return offer;
        });
        (path, content) = (Path.Combine(fixture.FolderOf(1), $"{fixture.Id}.arrow"), fixture.Content);
        await File.WriteAllBytesAsync(path, new byte[content.Length]);

        var paths = await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(paths[0]));
        Assert.AreEqual(fixture.Content.Length / 2 + 1, fixture.Coordinator.SentBytes, 1, "Of the worker that is new one share, and the first byte.");
    }

    [TestMethod]
    public async Task Peer_WithTheDataInAnotherLayout_IsLeftBeforeItGivesAny()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        var path = Path.Combine(fixture.FolderOf(1), "other");
        await File.WriteAllBytesAsync(path, [.. fixture.Content, .. new byte[64]]);
        await fixture.PeersOf(1).ServeAsync(ContentHash.Parse(fixture.Id), GrowingFile.OpenWhole(path, TimeProvider.System));

        var got = await fixture.AcquireAsync(0);

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(got));
        Assert.AreEqual("h0 has the data: 18.0 MB, of which 0.0 MB from other workers", fixture.Said.Single(s => s.StartsWith("h0", StringComparison.Ordinal)), "Nothing came twice.");
    }

    [TestMethod]
    public async Task Coordinator_WithADamagedFile_IsBlamedAndNotTheOthers()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        fixture.Content[^(fixture.Content.Length / 4)] ^= 1;
        fixture.Coordinator.LooksAtItsOwn = true;

        foreach (var each in Enumerable.Range(0, 2).Select(place => fixture.AcquireAsync(place)).ToList())
            StringAssert.Contains((await Assert.ThrowsExactlyAsync<TransferException>(() => each)).Message, "was damaged on the coordinator's disk");

        Assert.IsFalse(fixture.Said.Any(s => s.Contains("Look at their disks", StringComparison.Ordinal)), string.Join('\n', fixture.Said));
    }

    [TestMethod]
    public async Task Peer_ThatGivesOtherBytes_IsFoundOutAndTheCoordinatorAskedForTheseAlone()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        var path = Path.Combine(fixture.FolderOf(1), "wrong");
        var wrong = fixture.Content.ToArray();
        wrong[^(wrong.Length / 4)] ^= 1;
        await File.WriteAllBytesAsync(path, wrong);
        await fixture.PeersOf(1).ServeAsync(ContentHash.Parse(fixture.Id), GrowingFile.OpenWhole(path, TimeProvider.System));

        var got = await fixture.AcquireAsync(0);

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(got));
        Assert.AreEqual(fixture.Content.Length + 1, fixture.Coordinator.SentBytes, "Its own share stays.");
        Assert.IsTrue(fixture.Said.Any(s => s.Contains("what other workers gave of it (9.0 MB) is fetched again, from the coordinator, whose file is whole", StringComparison.Ordinal)), string.Join('\n', fixture.Said));
        Assert.IsTrue(fixture.Said.Any(s => s.EndsWith("Look at their disks", StringComparison.Ordinal)), string.Join('\n', fixture.Said));
    }

    // As two that wait for one another.
    [TestMethod]
    public async Task Peer_ThatHasNothingToGive_IsLeftOnceTheOwnShareIsHere()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        await fixture.PeersOf(1).ServeAsync(ContentHash.Parse(fixture.Id), GrowingFile.Open(Path.Combine(fixture.FolderOf(1), "empty"), fixture.Content.Length, TimeProvider.System));

        var got = await fixture.AcquireAsync(0).WaitAsync(TimeSpan.FromMinutes(1));

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(got));
        Assert.AreEqual(fixture.Content.Length + 1, fixture.Coordinator.SentBytes);
    }

    [TestMethod]
    public async Task Peer_ThatLeavesInMidTransfer_LosesNothingThatCame()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        var going = new TaskCompletionSource();
        fixture.Coordinator.Gate = going.Task;
        using var stop = new CancellationTokenSource();
        var leaving = fixture.AcquireAsync(1, stop.Token);
        // Its first chunk, and the first of this one's own share.
        var both = new TaskCompletionSource();
        var staying = fixture.AcquireAsync(0, onProgress: (bytes, _) =>
        {
            if (bytes >= 2 * 65536)
                both.TrySetResult();
        });
        await both.Task.WaitAsync(TimeSpan.FromSeconds(20));

        await stop.CancelAsync();
        await Assert.ThrowsAsync<OperationCanceledException>(() => leaving);
        await fixture.PeersOf(1).DisposeAsync();
        going.SetResult();

        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(await staying));
        // Each asked for the first byte; the one that left had its first chunk, which the other has of it.
        Assert.AreEqual(fixture.Content.Length + 2, fixture.Coordinator.SentBytes);
    }

    [TestMethod]
    public async Task Download_CutOff_GoesOnFromAllThatCame()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        fixture.Coordinator.Gate = new TaskCompletionSource().Task;
        using var stop = new CancellationTokenSource();
        var both = Enumerable.Range(0, 2).Select(place => fixture.AcquireAsync(place, stop.Token, (bytes, _) =>
        {
            if (bytes >= 2 * 65536 && place == 0)
                stop.Cancel();
        })).ToList();
        foreach (var each in both)
            await Assert.ThrowsAsync<OperationCanceledException>(() => each.WaitAsync(TimeSpan.FromSeconds(20)));
        foreach (var place in (int[])[0, 1])
            await fixture.PeersOf(place).DisposeAsync();
        fixture.Coordinator.Gate = Task.CompletedTask;
        fixture.BeginAttempt();

        var paths = await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));

        foreach (var path in paths)
            CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync(path));
        Assert.AreEqual(fixture.Content.Length + 4, fixture.Coordinator.SentBytes, 65536, "Nothing is fetched twice, but what was on its way.");
    }

    [TestMethod]
    public async Task Disk_FullOnOneSide_FailsThereAlone()
    {
        using var disk = await SmallDisk.MountAsync(megabytes: 10);
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        await using var small = await PeersFixture.CreateAsync(count: 2, files: disk.Folder);

        var error = await Assert.ThrowsExactlyAsync<IOException>(() => small.AcquireAsync(0));

        StringAssert.Contains(error.Message, $"Dataset \"{small.Id}\" (18.0 MB) cannot be written to \"{disk.Folder}\" (the disk is full");
        Assert.IsEmpty(Directory.GetFiles(disk.Folder, "*.arrow*"));
        CollectionAssert.AreEqual(fixture.Content, await File.ReadAllBytesAsync((await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1)))[0]));
    }

    [TestMethod]
    public async Task Server_AskedByAStranger_RefusesAndIsGoneInTheEnd()
    {
        await using var fixture = await PeersFixture.CreateAsync(count: 2);
        await Task.WhenAll(fixture.AcquireAsync(0), fixture.AcquireAsync(1));
        var offer = fixture.Offers[0];
        var address = IPEndPoint.Parse(offer.Address);
        Assert.IsTrue(address.Port is >= 7300 and <= 7399 && IPAddress.IsLoopback(address.Address), offer.Address);

        foreach (var key in (string?[])[null, new string('0', 64), offer.Key + "0"])
            Assert.AreEqual(StatusCode.Unauthenticated, await AskAsync(key, fixture.Id));
        Assert.AreEqual(StatusCode.NotFound, await AskAsync(offer.Key, new string('1', 64)), "Another dataset.");
        Assert.AreEqual(StatusCode.OutOfRange, await AskAsync(offer.Key, fixture.Id, length: fixture.Content.Length + 1));
        Assert.AreEqual(StatusCode.OK, await AskAsync(offer.Key, fixture.Id));

        foreach (var place in (int[])[0, 1])
            await fixture.PeersOf(place).DisposeAsync();
        using var client = new TcpClient();
        await Assert.ThrowsAsync<SocketException>(() => client.ConnectAsync(address));

        async Task<StatusCode> AskAsync(string? key, string id, long length = 1)
        {
            using var connection = ClusterConnection.Open(new Uri($"https://{offer.Address}"), key, offer.Fingerprint);
            using var call = new Blobs.BlobsClient(connection.Invoker).Download(new DownloadRequest { Id = id, Kind = BlobKind.Dataset, Length = length });
            try
            {
                return await call.ResponseStream.MoveNext(CancellationToken.None) ? StatusCode.OK : StatusCode.Unknown;
            }
            catch (RpcException e)
            {
                return e.StatusCode;
            }
        }
    }
}
