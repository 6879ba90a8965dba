using System.Net;
using System.Net.Sockets;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;

namespace Collectives.Tests.Heartbeats;

/// <summary>Real packets, on this machine's own network.</summary>
[TestClass, DoNotParallelize] // of ports
public sealed class PeerCheckTests
{
    private static readonly TimeSpan s_bound = TimeSpan.FromSeconds(30);

    [TestMethod]
    public async Task Ranks_ThatReachOneAnother_AreDoneAndLeaveTheirPorts()
    {
        using var meeting = new Meeting(3);

        await Task.WhenAll(Enumerable.Range(0, 3).Select(rank => meeting.RunAsync(rank, PeerCheck.Run))).WaitAsync(s_bound);

        Assert.IsFalse(meeting.Told.Any(t => t.Task.IsCompleted));
        for (var rank = 0; rank < 3; rank++)
        {
            // Not as .NET has it: MPI does not share a port with what its last packets may come for.
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { ExclusiveAddressUse = true };
            socket.Bind(new IPEndPoint(IPAddress.Loopback, Meeting.FirstPort + rank));
            socket.Listen();
        }
    }

    [TestMethod]
    public async Task Rank_ThatIsHeardAndTakesNoConnection_IsToldByItsAddressAndWithAFarewell()
    {
        using var meeting = new Meeting(2);
        using var closed = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        closed.Bind(new IPEndPoint(IPAddress.Loopback, 0)); // and does not listen
        // Answers each word with one, until the last.
        var other = meeting.RunAsync(1, (_, rendezvous, _) =>
        {
            using var socket = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0)) { Client = { ReceiveTimeout = (int)s_bound.TotalMilliseconds } };
            var first = rendezvous.AllGather($"{socket.Client.LocalEndPoint} {new string('0', 2 * HeartbeatPacket.KeyBytes)}", CancellationToken.None)[0].Split(' ');
            var (from, key) = (IPEndPoint.Parse(first[0]), Convert.FromHexString(first[1]));
            Task? told = null;
            for (var number = 1; ; number++)
            {
                Assert.IsTrue(HeartbeatPacket.TryRead(socket.Receive(ref from), key, out var packet));
                if (packet.HasLeft)
                    break;
                var answer = new byte[HeartbeatPacket.Bytes];
                new HeartbeatPacket(Rank: 1, HasLeft: false, number).Write(answer, key);
                socket.Send(answer, from);
                told ??= Task.Run(() => rendezvous.AllGather($"{closed.LocalEndPoint}", CancellationToken.None));
            }
        });

        var failure = await Assert.ThrowsAsync<CollectiveTimeoutException>(() => meeting.RunAsync(0, PeerCheck.Run).WaitAsync(s_bound));
        await other.WaitAsync(2 * s_bound);

        var (silent, isLost) = await meeting.Told[0].Task.WaitAsync(s_bound);
        Assert.AreEqual((1, $"{closed.LocalEndPoint}", true, true), (silent.Single().Rank, silent.Single().Address, silent.Single().IsConnection, isLost));
        StringAssert.StartsWith(failure.Message, $"Rank 0 got no connection to rank 1 at {closed.LocalEndPoint} (TCP) for ");
    }

    [TestMethod]
    public async Task Stop_WhileOneIsNotHeard_EndsIt()
    {
        using var meeting = new Meeting(2);
        using var stop = new CancellationTokenSource();
        using var silent = new UdpClient(new IPEndPoint(IPAddress.Loopback, 0));
        var other = meeting.RunAsync(1, (_, rendezvous, _) => rendezvous.AllGather($"{silent.Client.LocalEndPoint} {new string('0', 2 * HeartbeatPacket.KeyBytes)}", CancellationToken.None));
        var check = meeting.RunAsync(0, (options, rendezvous, _) => PeerCheck.Run(options with { SilenceLimit = s_bound }, rendezvous, stop.Token));
        await other.WaitAsync(s_bound);

        await stop.CancelAsync();

        await Assert.ThrowsAsync<OperationCanceledException>(() => check.WaitAsync(s_bound / 2));
    }

    private sealed class Meeting(int count) : IDisposable
    {
        public const int FirstPort = 21_000;

        private readonly Barrier _barrier = new(count);
        private readonly string[] _texts = new string[count];

        public TaskCompletionSource<(IReadOnlyList<SilentPeer> Silent, bool IsLost)>[] Told { get; } = [.. Enumerable.Range(0, count).Select(_ => new TaskCompletionSource<(IReadOnlyList<SilentPeer>, bool)>())];

        public Task RunAsync(int rank, Action<MpiOptions, IRendezvous, CancellationToken> run)
        {
            var options = new MpiOptions { Rank = rank, WorldSize = count, NetworkAddress = "127.0.0.1", FirstPort = FirstPort, LastPort = FirstPort + 99, HeartbeatInterval = TimeSpan.FromSeconds(0.1), SilenceLimit = TimeSpan.FromSeconds(5) };
            return Task.Factory.StartNew(() => run(options, new Way(this, rank), CancellationToken.None), TaskCreationOptions.LongRunning);
        }

        public void Dispose() => _barrier.Dispose();

        private sealed class Way(Meeting meeting, int rank) : IRendezvous
        {
            public Task<int> Aborted { get; } = new TaskCompletionSource<int>().Task;

            public IReadOnlyList<string> AllGather(string mine, CancellationToken stop)
            {
                meeting._texts[rank] = mine;
                Assert.IsTrue(meeting._barrier.SignalAndWait(s_bound, stop));
                var all = meeting._texts.ToArray();
                Assert.IsTrue(meeting._barrier.SignalAndWait(s_bound, stop)); // before another round's
                return all;
            }

            public void Abort(int rank) => throw new NotSupportedException();

            public void TellUnheard(IReadOnlyList<SilentPeer> silent, bool isLost) => meeting.Told[rank].TrySetResult((silent, isLost));
        }
    }
}
