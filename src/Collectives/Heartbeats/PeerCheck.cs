using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using MLDistributed.Collectives.Mpi;

namespace MLDistributed.Collectives.Heartbeats;

/// <summary>
/// Whether the ranks of a world will reach one another: each hears all others (UDP) and connects to them (TCP), at the addresses and
/// ports that they are going to have. For whoever speaks for them before anything is sent to their hosts, and before their processes are in a world.
/// </summary>
public static class PeerCheck
{
    private static readonly TimeSpan s_again = TimeSpan.FromMilliseconds(200); // after a refusal, which may be of a moment

    /// <summary>Returns when all have reached all. Blocks the calling thread.</summary>
    /// <param name="options">The world.</param>
    /// <param name="rendezvous">The way to the others, which does not lead over the network that is looked at; hears of who is not reached.</param>
    /// <param name="stop">Ends it.</param>
    /// <exception cref="HostNetworkException">This host has no address or no free port there.</exception>
    /// <exception cref="CollectiveTimeoutException">One was not reached within <see cref="MpiOptions.SilenceLimit"/>, or did not come.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static void Run(MpiOptions options, IRendezvous rendezvous, CancellationToken stop)
    {
        using var listener = HostSocket.Bind(options, ProtocolType.Tcp);
        using var watch = PeerWatch.Begin(options, Tell, rendezvous, stop);
        using var end = CancellationTokenSource.CreateLinkedTokenSource(stop, watch.Lost);
        try
        {
            var addresses = Tell($"{listener.LocalEndPoint}");
            ConnectAsync(options, addresses, rendezvous, end.Token).GetAwaiter().GetResult();
            Tell("reached"); // until then others may still try
            watch.Leave();
        }
        catch (Exception e) when (!stop.IsCancellationRequested)
        {
            watch.Leave(); // it has said whom it does not reach, and is no silent one to others
            if (e is not OperationCanceledException)
                throw;
            throw new CollectiveTimeoutException($"Rank {options.Describe(options.Rank)} has lost another while they looked whether they reach one another, expected all to be heard.");
        }

        IReadOnlyList<string> Tell(string mine) => BoundedRendezvous.AllGather(rendezvous, mine, options, stop);
    }

    private static async Task ConnectAsync(MpiOptions options, IReadOnlyList<string> addresses, IRendezvous rendezvous, CancellationToken end)
    {
        var began = Stopwatch.GetTimestamp();
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(end);
        limit.CancelAfter(options.SilenceLimit);
        var connections = addresses.Select((address, rank) => rank == options.Rank ? Task.FromResult(true) : ConnectAsync(options, address, limit.Token)).ToList();
        var reached = await Task.WhenAll(connections).ConfigureAwait(false);
        if (Array.TrueForAll(reached, r => r))
            return;
        var time = Stopwatch.GetElapsedTime(began);
        List<SilentPeer> missing = [.. addresses.Select((address, rank) => new SilentPeer(rank, time, address) { IsConnection = true }).Where(p => !reached[p.Rank])];
        // As with heartbeats: who has ended the attempt may not be who is right about it, and half the limit is long enough to say so.
        if (time >= options.SilenceLimit / 2)
            rendezvous.TellUnheard(missing, isLost: !end.IsCancellationRequested);
        end.ThrowIfCancellationRequested();
        throw new CollectiveTimeoutException($"Rank {options.Describe(options.Rank)} got no connection to {string.Join(" and ", missing.Select(p => $"rank {options.Describe(p.Rank)} at {p.Address} (TCP)"))} for {time.TotalSeconds:0.#} s, expected an answer. See whether firewalls and switches between the hosts let it through.");
    }

    private static async Task<bool> ConnectAsync(MpiOptions options, string address, CancellationToken end)
    {
        if (!IPEndPoint.TryParse(address, out var peer))
            throw new CollectiveException($"Rank {options.Describe(options.Rank)} was told \"{address}\" of another, expected where it listens. Use the same release on all hosts.");
        while (!end.IsCancellationRequested)
        {
            try
            {
                // Ends with a reset: what waits for its last packets would keep the port from MPI.
                using var socket = new Socket(peer.AddressFamily, SocketType.Stream, ProtocolType.Tcp) { LingerState = new LingerOption(enable: true, seconds: 0) };
                socket.Bind(new IPEndPoint(IPAddress.Parse(options.NetworkAddress), 0));
                await socket.ConnectAsync(peer, end).ConfigureAwait(false);
                return true;
            }
            catch (Exception e) when (e is SocketException or OperationCanceledException)
            {
                await Task.Delay(s_again, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        return false;
    }
}
