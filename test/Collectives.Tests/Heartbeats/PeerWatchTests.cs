using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;

namespace Collectives.Tests.Heartbeats;

/// <summary>Real packets, on this machine's own network.</summary>
[TestClass, DoNotParallelize] // one makes all cores busy
public sealed class PeerWatchTests
{
    private static readonly TimeSpan s_bound = TimeSpan.FromSeconds(30);

    [TestMethod]
    public async Task Rank_ThatIsGone_IsToldByAllOthersAndOneThatHasLeftIsNot()
    {
        using var ranks = await Group.MeetAsync(4);

        ranks.Watches[1].Leave();
        ranks.Watches[1].Dispose();
        ranks.Watches[2].Dispose();

        foreach (var rank in new[] { 0, 3 })
        {
            var (silent, isLost) = await ranks.Told[rank].Task.WaitAsync(s_bound);
            // The one that has left was silent for longer.
            Assert.DoesNotContain(s => s.Rank == 1, silent);
            Assert.AreEqual((ranks.Addresses[2], true), (silent.Single(s => s.Rank == 2).Address, isLost));
            Assert.IsTrue(ranks.Watches[rank].Lost.WaitHandle.WaitOne(s_bound));
        }

        Assert.IsFalse(ranks.Told[1].Task.IsCompleted || ranks.Told[2].Task.IsCompleted);
    }

    [TestMethod]
    public async Task Rank_OfAMachineWhoseCoresAreAllBusy_IsHeard()
    {
        using var ranks = await Group.MeetAsync(3, limitSeconds: 2);
        var began = Stopwatch.GetTimestamp();

        // Twice as long as it may be silent.
        await Task.WhenAll(Enumerable.Range(0, 4 * Environment.ProcessorCount).Select(_ => Task.Factory.StartNew(() =>
        {
            while (Stopwatch.GetElapsedTime(began).TotalSeconds < 4)
                Thread.SpinWait(1000);
        }, TaskCreationOptions.LongRunning)));

        Assert.IsFalse(ranks.Watches.Any(w => w.Lost.IsCancellationRequested));
    }

    [TestMethod]
    [DataRow("nothing")]
    [DataRow("an empty packet")]
    [DataRow("a long packet")]
    [DataRow("another's key")]
    [DataRow("what it said before")]
    [DataRow("another rank")]
    public async Task Stranger_WhoSaysAnything_IsNotTakenForTheRank(string what)
    {
        using var silentOne = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var ranks = await Group.MeetAsync(2, (key, rank0) =>
        {
            var said = Packet(1, 10, key);
            silentOne.Send(said, said.Length, rank0);
            return what switch
            {
                "nothing" => null,
                "an empty packet" => [],
                "a long packet" => new byte[1000],
                "another's key" => Packet(1, 11, new byte[HeartbeatPacket.KeyBytes]),
                "what it said before" => said,
                _ => Packet(7, 11, key),
            };
        }, silentOne);

        using var bound = new CancellationTokenSource(s_bound);
        var told = ranks.Told[0].Task;
        while (!told.IsCompleted)
        {
            bound.Token.ThrowIfCancellationRequested();
            if (ranks.Forged is { } forged)
                await silentOne.SendAsync(forged, IPEndPoint.Parse(ranks.Addresses[0]), bound.Token);
            await Task.WhenAny(told, Task.Delay(5, bound.Token)); // what comes meanwhile, in place of a busy loop
        }

        Assert.AreEqual(1, (await told).Silent.Single().Rank);
    }

    [TestMethod]
    public async Task Packets_FromAnotherAddress_AreNotTaken()
    {
        using var silentOne = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var elsewhere = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var ranks = await Group.MeetAsync(silentOne);

        using var bound = new CancellationTokenSource(s_bound);
        var told = ranks.Told[0].Task;
        for (var number = 11; !told.IsCompleted; number++)
        {
            await elsewhere.SendAsync(Packet(1, number, ranks.Key), IPEndPoint.Parse(ranks.Addresses[0]), bound.Token);
            await Task.WhenAny(told, Task.Delay(5, bound.Token)); // what comes meanwhile, in place of a busy loop
        }

        Assert.AreEqual(1, (await told).Silent.Single().Rank);
    }

    [TestMethod]
    public async Task Leave_UntilTheEnd_IsSaidAgainAndAgain()
    {
        using var other = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        using var ranks = await Group.MeetAsync(other);

        ranks.Watches[0].Leave();

        using var bound = new CancellationTokenSource(s_bound);
        for (var farewells = 0; farewells < 6;) // three at once
            if (HeartbeatPacket.TryRead((await other.ReceiveAsync(bound.Token)).Buffer, ranks.Key, out var packet) && packet.HasLeft)
                farewells++;
        Assert.IsFalse(ranks.Watches[0].Lost.IsCancellationRequested);
    }

    [TestMethod]
    public async Task Meeting_OfOneThatIsNotHeard_NamesBoth()
    {
        using var deaf = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        var topology = new Topology([("a", ["cpu", "cpu"]), ("b", ["cpu"])]);

        var failure = await Assert.ThrowsAsync<CollectiveTimeoutException>(() => Group.MeetAsync(2, (_, _) => null, deaf, topology));

        Assert.AreEqual(
            $"Rank 0 (host \"a\") has heard nothing of rank 2 (host \"b\") at {deaf.Client.LocalEndPoint} for 1 s, expected UDP packets every 0.1 s. See whether firewalls and switches between the hosts let them through.",
            failure.Message);
    }

    [TestMethod]
    public void Begin_AllPortsTaken_NamesThem()
    {
        using var taken = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        var port = ((IPEndPoint)taken.Client.LocalEndPoint!).Port;

        var failure = Assert.Throws<HostNetworkException>(() => PeerWatch.Begin(Group.Options(0, 2) with { FirstPort = port, LastPort = port }, _ => [], new Ear(), CancellationToken.None));

        StringAssert.StartsWith(failure.Message, $"Rank 0 can listen on no UDP port of {port} to {port} at 127.0.0.1 (");
    }

    private static byte[] Packet(int rank, long number, byte[] key)
    {
        var bytes = new byte[HeartbeatPacket.Bytes];
        new HeartbeatPacket(rank, HasLeft: false, number).Write(bytes, key);
        return bytes;
    }

    private sealed class Ear : IRendezvous
    {
        private readonly TaskCompletionSource<int> _aborted = new();

        public TaskCompletionSource<(IReadOnlyList<SilentPeer> Silent, bool IsLost)> Told { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Task<int> Aborted => _aborted.Task;

        public IReadOnlyList<string> AllGather(string mine, CancellationToken stop) => throw new NotSupportedException();

        public void Abort(int rank) => _aborted.TrySetResult(rank);

        public void TellUnheard(IReadOnlyList<SilentPeer> silent, bool isLost) => Told.TrySetResult((silent, isLost));
    }

    private sealed class Group : IDisposable
    {
        public required PeerWatch[] Watches { get; init; }

        public required string[] Addresses { get; init; }

        public required TaskCompletionSource<(IReadOnlyList<SilentPeer> Silent, bool IsLost)>[] Told { get; init; }

        public byte[]? Forged { get; init; }

        public byte[] Key { get; init; } = [];

        public static MpiOptions Options(int rank, int count, double limitSeconds = 1) => new()
        {
            Rank = rank,
            WorldSize = count,
            NetworkAddress = "127.0.0.1",
            FirstPort = 20_000,
            LastPort = 20_999,
            HeartbeatInterval = TimeSpan.FromSeconds(0.1),
            SilenceLimit = TimeSpan.FromSeconds(limitSeconds),
        };

        public static async Task<Group> MeetAsync(int count, double limitSeconds = 1)
        {
            var texts = new string[count];
            using var meeting = new Barrier(count);
            var ears = Enumerable.Range(0, count).Select(_ => new Ear()).ToArray();
            var watches = await Task.WhenAll(Enumerable.Range(0, count).Select(rank => Task.Factory.StartNew(() => PeerWatch.Begin(Options(rank, count, limitSeconds), mine =>
            {
                texts[rank] = mine;
                Assert.IsTrue(meeting.SignalAndWait(s_bound));
                return texts;
            }, ears[rank], CancellationToken.None), TaskCreationOptions.LongRunning)));
            return new Group { Watches = watches, Addresses = [.. texts.Select(t => t.Split(' ')[0])], Told = [.. ears.Select(e => e.Told)] };
        }

        /// <summary>Rank 0, of two, which has heard the other once.</summary>
        public static Task<Group> MeetAsync(UdpClient other) => MeetAsync(2, (key, rank0) =>
        {
            other.Send(Packet(1, 10, key), HeartbeatPacket.Bytes, rank0);
            return null;
        }, other);

        /// <summary>Rank 0, of two: the other is the test.</summary>
        public static async Task<Group> MeetAsync(int count, Func<byte[], IPEndPoint, byte[]?> speak, UdpClient other, Topology? topology = null)
        {
            var (text, key, forged, ear) = ("", (byte[])[], (byte[]?)null, new Ear());
            var watch = await Task.Run(() => PeerWatch.Begin(Options(0, count) with { Topology = topology }, mine =>
            {
                text = mine;
                key = Convert.FromHexString(mine.Split(' ')[1]);
                forged = speak(key, IPEndPoint.Parse(mine.Split(' ')[0]));
                return [mine, $"{other.Client.LocalEndPoint} {new string('0', 2 * HeartbeatPacket.KeyBytes)}"];
            }, ear, CancellationToken.None));
            return new Group { Watches = [watch], Addresses = [text.Split(' ')[0]], Told = [ear.Told], Forged = forged, Key = key };
        }

        public void Dispose()
        {
            foreach (var watch in Watches)
                watch.Dispose();
        }
    }
}
