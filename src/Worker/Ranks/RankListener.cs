using System.Net.Sockets;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>The agent's socket, to which its rank processes connect. Who does not know a process's token is hung up on.</summary>
internal sealed class RankListener : IDisposable
{
    private static readonly TimeSpan AcceptPause = TimeSpan.FromMilliseconds(200);
    private readonly string _path;
    private readonly TimeProvider _time;
    private readonly Func<RankReady, Stream, FrameReader, Task> _onReady;
    private Socket _socket;

    /// <param name="path">The socket's.</param>
    /// <param name="time">For pauses.</param>
    /// <param name="onReady">Hears of each process that says it is ready, with its stream.</param>
    public RankListener(string path, TimeProvider time, Func<RankReady, Stream, FrameReader, Task> onReady)
    {
        _path = path;
        _time = time;
        _onReady = onReady;
        _socket = Listen();
    }

    /// <summary>Listens anew when something removed the socket's file: processes that are connected stay so.</summary>
    /// <exception cref="IOException">Its folder is gone too.</exception>
    public void Restore()
    {
        if (File.Exists(_path))
            return;
        _socket.Dispose(); // first: it removes the file of its name
        _socket = Listen();
    }

    public void Dispose() => _socket.Dispose();

    private Socket Listen()
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            File.Delete(_path);
            socket.Bind(new UnixDomainSocketEndPoint(_path));
            if (!OperatingSystem.IsWindows())
                File.SetUnixFileMode(_path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            socket.Listen();
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new IOException($"Socket \"{_path}\" cannot be listened on ({e.Message}), expected a folder that this user can write.", e);
        }

        _ = AcceptAsync(socket);
        return socket;
    }

    private async Task AcceptAsync(Socket socket)
    {
        while (true)
        {
            Socket peer;
            try
            {
                peer = await socket.AcceptAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (e is ObjectDisposedException or SocketException { SocketErrorCode: SocketError.OperationAborted or SocketError.Interrupted })
            {
                return;
            }
            catch (SocketException)
            {
                // Out of file descriptors, mostly: that passes, and a listener that gave up would starve every later process.
                await Task.Delay(AcceptPause, _time).ConfigureAwait(false);
                continue;
            }

            _ = GreetAsync(peer, _onReady);
        }
    }

    private static async Task GreetAsync(Socket peer, Func<RankReady, Stream, FrameReader, Task> onReady)
    {
        var stream = new NetworkStream(peer, ownsSocket: true);
        await using (stream.ConfigureAwait(false))
        {
            try
            {
                var reader = new FrameReader(stream);
                var first = await reader.ReadAsync(RankEvent.Parser, CancellationToken.None).ConfigureAwait(false);
                if (first?.Ready is { } ready)
                    await onReady(ready, stream, reader).ConfigureAwait(false);
            }
            catch (Exception e) when (e is IOException or InvalidDataException or Google.Protobuf.InvalidProtocolBufferException)
            {
                // Hung up on; a rank that could not speak shows in its exit.
            }
        }
    }
}
