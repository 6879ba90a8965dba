using System.Globalization;
using System.Net.Sockets;
using System.Text;
using MLDistributed.Collectives.Mpi;

namespace MLDistributed.Tests.Shared;

/// <summary>A rank's end of a <see cref="UnixRendezvousServer"/>: lines over a socket file, which other network namespaces reach too.</summary>
internal sealed class UnixRendezvous : IRendezvous, IDisposable
{
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly System.Collections.Concurrent.BlockingCollection<string> _gathered = [];
    private readonly TaskCompletionSource<int> _aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly StreamWriter _writer;

    public UnixRendezvous(string path, int rank)
    {
        _socket.Connect(new UnixDomainSocketEndPoint(path));
        var stream = new NetworkStream(_socket);
        _writer = new StreamWriter(stream) { AutoFlush = true };
        Write(string.Create(CultureInfo.InvariantCulture, $"rank {rank}"));
        new Thread(() => Read(new StreamReader(stream))) { IsBackground = true }.Start();
    }

    public Task<int> Aborted => _aborted.Task;

    public IReadOnlyList<string> AllGather(string mine, CancellationToken stop)
    {
        Write("gather " + Convert.ToBase64String(Encoding.UTF8.GetBytes(mine)));
        return [.. _gathered.Take(stop).Split(' ').Select(t => Encoding.UTF8.GetString(Convert.FromBase64String(t)))];
    }

    public void Abort(int rank) => Write(string.Create(CultureInfo.InvariantCulture, $"abort {rank}"));

    public void Dispose() => _socket.Dispose();

    private void Write(string line)
    {
        lock (_writer)
            _writer.WriteLine(line);
    }

    private void Read(StreamReader reader)
    {
        try
        {
            while (reader.ReadLine() is { } line)
            {
                if (line.StartsWith("gathered ", StringComparison.Ordinal))
                    _gathered.Add(line["gathered ".Length..]);
                else if (line.StartsWith("aborted ", StringComparison.Ordinal))
                    _aborted.TrySetResult(int.Parse(line["aborted ".Length..], CultureInfo.InvariantCulture));
            }
        }
        catch (IOException)
        {
            // The test has ended.
        }
    }
}

/// <summary>Stands in for the coordinator: gives each round's texts to all ranks, and tells of one that aborts, or whose process has ended.</summary>
internal sealed class UnixRendezvousServer : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
    private readonly Lock _lock = new();
    private readonly int _worldSize;
    private readonly bool _tellsOfDeath;
    private readonly StreamWriter?[] _ranks;
    private readonly string?[] _round;
    private (string Line, int Rank)? _aborted;

    public UnixRendezvousServer(int worldSize, bool tellsOfDeath)
    {
        (_worldSize, _tellsOfDeath) = (worldSize, tellsOfDeath);
        (_ranks, _round) = (new StreamWriter?[worldSize], new string?[worldSize]);
        _listener.Bind(new UnixDomainSocketEndPoint(Path));
        _listener.Listen();
        new Thread(Accept) { IsBackground = true }.Start();
    }

    public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "rv-" + Guid.NewGuid().ToString("N")[..12]);

    public void Dispose()
    {
        _listener.Dispose();
        File.Delete(Path);
    }

    private void Accept()
    {
        try
        {
            while (true)
            {
                var socket = _listener.Accept();
                new Thread(() => Serve(new NetworkStream(socket, ownsSocket: true))) { IsBackground = true }.Start();
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // Disposed.
        }
    }

    private void Serve(NetworkStream stream)
    {
        using (stream)
        {
            var reader = new StreamReader(stream);
            var rank = int.Parse(reader.ReadLine()!.Split(' ')[1], CultureInfo.InvariantCulture);
            lock (_lock)
            {
                _ranks[rank] = new StreamWriter(stream) { AutoFlush = true };
                if (_aborted is { } aborted)
                    Tell(aborted.Line, aborted.Rank); // before this one came
            }

            try
            {
                while (reader.ReadLine() is { } line)
                    Take(rank, line);
            }
            catch (IOException)
            {
                // Killed.
            }

            lock (_lock)
            {
                _ranks[rank] = null;
                if (_tellsOfDeath)
                    TellOfAbort($"aborted {rank}", rank);
            }
        }
    }

    private void Take(int rank, string line)
    {
        lock (_lock)
        {
            if (line.StartsWith("abort ", StringComparison.Ordinal))
            {
                TellOfAbort("aborted " + line["abort ".Length..], rank);
                return;
            }

            _round[rank] = line["gather ".Length..];
            if (_round.Contains(null))
                return;
            Tell("gathered " + string.Join(' ', _round), but: -1);
            Array.Clear(_round);
        }
    }

    private void TellOfAbort(string line, int rank)
    {
        _aborted ??= (line, rank);
        Tell(line, rank);
    }

    private void Tell(string line, int but)
    {
        for (var rank = 0; rank < _worldSize; rank++)
        {
            try
            {
                if (rank != but)
                    _ranks[rank]?.WriteLine(line);
            }
            catch (IOException)
            {
                // It has gone.
            }
        }
    }
}
