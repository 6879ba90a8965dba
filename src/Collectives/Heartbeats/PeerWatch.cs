using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using MLDistributed.Collectives.Mpi;

namespace MLDistributed.Collectives.Heartbeats;

/// <summary>
/// Tells the other ranks of a world that this one is there, over the network that they compute over, and listens to them: MPI
/// says nothing of a network that loses what is sent. On a thread of its own, whatever this process computes.
/// </summary>
public sealed class PeerWatch : IDisposable
{
    private static readonly TimeSpan s_look = TimeSpan.FromMilliseconds(100);
    private const int MostAtOnce = 1024;   // who sends more must not keep this rank from sending
    private const int FarewellCount = 3;

    private readonly MpiOptions _options;
    private readonly IRendezvous _rendezvous;
    private readonly Socket _socket;
    private readonly SocketAddress?[] _addresses;
    private readonly HashSet<SocketAddress> _senders;
    private readonly string[] _names;
    private readonly long[] _numbers;
    private readonly byte[] _key;
    private readonly PeerSilence _silence;
    private readonly Lock _gate = new();
    private readonly Lock _telling = new(); // who ends this waits for who tells
    private readonly CancellationTokenSource _lost = new();
    private readonly TaskCompletionSource _met = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Thread _thread;
    private readonly CancellationTokenRegistration _stopped;
    private long _number;
    private bool _hasTold;
    private volatile bool _hasLeft;
    private IReadOnlyList<SilentPeer> _unheard = [];
    private volatile bool _isDisposed;

    private PeerWatch(MpiOptions options, IRendezvous rendezvous, Socket socket, IReadOnlyList<(IPEndPoint Address, byte[] Key)> all, CancellationToken stop)
    {
        (_options, _rendezvous, _socket) = (options, rendezvous, socket);
        _addresses = [.. all.Select((peer, rank) => rank == options.Rank ? null : peer.Address.Serialize())];
        _senders = [.. _addresses.OfType<SocketAddress>()];
        _names = [.. all.Select(peer => peer.Address.ToString())];
        _numbers = new long[all.Count];
        _key = all[0].Key;
        _silence = new PeerSilence(all.Count, options.Rank);
        _thread = new Thread(Run) { IsBackground = true, Name = "heartbeat" };
        // Whatever ends the attempt: who was silent by then is asked now, and not when a long step is over.
        _ = rendezvous.Aborted.ContinueWith(_ => Tell(isLost: false), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        _stopped = stop.Register(() => Tell(isLost: false));
    }

    /// <summary>Cancelled when another rank was silent for too long; the rendezvous has been told of it.</summary>
    public CancellationToken Lost => _lost.Token;

    /// <summary>Begins, and returns when every other rank was heard.</summary>
    /// <param name="options">The world; its address is the one that others send to.</param>
    /// <param name="tell">Gives the text of each rank to all.</param>
    /// <param name="rendezvous">Hears of who is silent.</param>
    /// <param name="stop">Ends the wait.</param>
    /// <exception cref="HostNetworkException">No port is free there, or it has no address.</exception>
    /// <exception cref="CollectiveTimeoutException">One was not heard; the message names both.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static PeerWatch Begin(MpiOptions options, Func<string, IReadOnlyList<string>> tell, IRendezvous rendezvous, CancellationToken stop)
    {
        var socket = HostSocket.Bind(options, ProtocolType.Udp);
        try
        {
            // The first rank's key is the world's: it goes the way of the rendezvous, which others do not see.
            var all = tell($"{socket.LocalEndPoint} {Convert.ToHexString(RandomNumberGenerator.GetBytes(HeartbeatPacket.KeyBytes))}").Select(t => Parse(t, options)).ToList();
            var watch = new PeerWatch(options, rendezvous, socket, all, stop);
            watch._thread.Start();
            try
            {
                watch.Meet(stop);
                return watch;
            }
            catch
            {
                watch.Dispose();
                throw;
            }
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>This rank has done its part: it watches nobody any more, and others need not listen for it.</summary>
    public void Leave()
    {
        lock (_gate)
            _hasLeft = true;
        for (var count = 0; count < FarewellCount; count++)
            Send(hasLeft: true);
    }

    /// <summary>Ends it. Who was silent until now is told of, where this rank has not done its part.</summary>
    public void Dispose()
    {
        if (_isDisposed)
            return;
        Tell(isLost: false);
        _isDisposed = true;
        _stopped.Dispose();
        _thread.Join();
        _socket.Dispose();
        _lost.Dispose();
    }

    private static (IPEndPoint Address, byte[] Key) Parse(string text, MpiOptions options) =>
        text.Split(' ') is [var address, var key] && IPEndPoint.TryParse(address, out var parsed) && key.Length == 2 * HeartbeatPacket.KeyBytes && key.All(char.IsAsciiHexDigitUpper)
            ? (parsed, Convert.FromHexString(key))
            : throw new CollectiveException($"Rank {options.Describe(options.Rank)} was told \"{text}\" of another, expected where it listens. Use the same release on all hosts.");

    private void Meet(CancellationToken stop)
    {
        using var lost = _lost.Token.Register(() => _met.TrySetCanceled());
        using var stopped = stop.Register(() => _met.TrySetCanceled(stop));
        _ = _rendezvous.Aborted.ContinueWith(_ => _met.TrySetResult(), CancellationToken.None, TaskContinuationOptions.OnlyOnRanToCompletion, TaskScheduler.Default);
        try
        {
            _met.Task.GetAwaiter().GetResult();
        }
        catch (OperationCanceledException) when (!stop.IsCancellationRequested)
        {
            throw new CollectiveTimeoutException($"Rank {_options.Describe(_options.Rank)} has heard nothing of {string.Join(" and ", _unheard.Select(u => $"rank {_options.Describe(u.Rank)} at {u.Address}"))} for {_options.SilenceLimit.TotalSeconds:0.#} s, expected UDP packets every {_options.HeartbeatInterval.TotalSeconds:0.#} s. See whether firewalls and switches between the hosts let them through.");
        }
    }

    private void Run()
    {
        Span<byte> packet = stackalloc byte[HeartbeatPacket.Bytes + 1]; // longer ones are seen to be
        var from = new SocketAddress(_socket.AddressFamily);
        var (looked, sent) = (Stopwatch.GetTimestamp(), 0L);
        while (!_isDisposed)
        {
            if (sent == 0 || Stopwatch.GetElapsedTime(sent) >= (_met.Task.IsCompleted ? _options.HeartbeatInterval : s_look))
            {
                sent = Stopwatch.GetTimestamp();
                Send(_hasLeft); // a farewell again, as those before may be lost
            }

            Wait();
            var now = Stopwatch.GetTimestamp();
            lock (_gate)
            {
                _silence.Pass(Stopwatch.GetElapsedTime(looked, now));
                for (var count = 0; count < MostAtOnce && Receive(packet, from) is var length and >= 0; count++)
                    Take(packet[..length], from);
            }

            looked = now;
            if (_silence.HasMet)
                _met.TrySetResult();
            if (_silence.Longest >= _options.SilenceLimit)
                Lose();
        }
    }

    private void Wait()
    {
        try
        {
            _socket.Poll(s_look, SelectMode.SelectRead);
        }
        catch (SocketException)
        {
            Thread.Yield(); // what a peer's host said of a packet before; the next look goes on
        }
    }

    private int Receive(Span<byte> packet, SocketAddress from)
    {
        try
        {
            return _socket.Poll(0, SelectMode.SelectRead) ? _socket.ReceiveFrom(packet, SocketFlags.None, from) : -1;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode == SocketError.MessageSize ? 0 : -1;
        }
    }

    private void Take(ReadOnlySpan<byte> bytes, SocketAddress from)
    {
        // Others cost no more than this look.
        if (!_senders.Contains(from) || !HeartbeatPacket.TryRead(bytes, _key, out var packet) || (uint)packet.Rank >= (uint)_numbers.Length || packet.Rank == _options.Rank || packet.Number <= _numbers[packet.Rank])
            return;
        _numbers[packet.Rank] = packet.Number;
        _silence.Hear(packet.Rank);
        if (packet.HasLeft)
            _silence.Leave(packet.Rank);
    }

    private void Send(bool hasLeft)
    {
        Span<byte> packet = stackalloc byte[HeartbeatPacket.Bytes];
        new HeartbeatPacket(_options.Rank, hasLeft, Interlocked.Increment(ref _number)).Write(packet, _key);
        foreach (var address in _addresses)
        {
            try
            {
                if (address is not null)
                    _socket.SendTo(packet, SocketFlags.None, address);
            }
            catch (SocketException)
            {
                // No link, no way, no room: the others do not hear it, and say so.
            }
        }
    }

    private void Lose()
    {
        lock (_gate)
        {
            if (_hasLeft || _lost.IsCancellationRequested)
                return;
            _unheard = Silent(_options.SilenceLimit); // one may be heard before others ask
        }

        Tell(isLost: true);
        _lost.Cancel();
    }

    // Once. Who has ended the attempt may not be who is right about it: half the limit is long enough to say so, too.
    private void Tell(bool isLost)
    {
        lock (_telling)
        {
            IReadOnlyList<SilentPeer> silent;
            lock (_gate)
            {
                silent = Silent(_options.SilenceLimit / 2);
                if (_hasTold || _hasLeft || _isDisposed || silent.Count == 0)
                    return;
                _hasTold = true;
            }

            // It may wait for a pipe, and who listens must not.
            _rendezvous.TellUnheard(silent, isLost);
        }
    }

    // Under the gate.
    private IReadOnlyList<SilentPeer> Silent(TimeSpan limit) => [.. _silence.Since(limit).Select(s => new SilentPeer(s.Rank, s.Silence, _names[s.Rank]))];
}
