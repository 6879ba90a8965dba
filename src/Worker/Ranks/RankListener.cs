using System.Net.Sockets;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>The agent's socket, to which its rank processes connect. Who does not know a process's token is hung up on.</summary>
internal sealed class RankListener : IDisposable
{
    private static readonly TimeSpan AcceptPause = TimeSpan.FromMilliseconds(200);
    private readonly TimeProvider _time;
    private readonly Socket _socket = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);

    public RankListener(string path, TimeProvider time)
    {
        _time = time;
        File.Delete(path);
        _socket.Bind(new UnixDomainSocketEndPoint(path));
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        _socket.Listen();
    }

    /// <summary>Accepts until disposed.</summary>
    /// <param name="onReady">Hears of each process that says it is ready, with its stream.</param>
    public async Task AcceptAsync(Func<RankReady, Stream, FrameReader, Task> onReady)
    {
        while (true)
        {
            Socket peer;
            try
            {
                peer = await _socket.AcceptAsync().ConfigureAwait(false);
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

            _ = GreetAsync(peer, onReady);
        }
    }

    public void Dispose() => _socket.Dispose();

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
