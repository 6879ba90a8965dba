using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;

namespace Cli.Tests.Servers;

/// <summary>Takes connections and answers no call: nothing at all, or HTTP/2's own questions alone (RFC 9113: settings and pings).</summary>
internal sealed class SilentServer : IDisposable
{
    private const int PrefaceLength = 24;
    private const int HeaderLength = 9;
    private const byte Headers = 1;
    private const byte Settings = 4;
    private const byte Ping = 6;
    private const byte Acknowledged = 1;
    private readonly TcpListener _listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly bool _answersPings;

    public SilentServer(bool answersPings)
    {
        _answersPings = answersPings;
        _listener.Start();
        _ = AcceptAsync();
    }

    /// <summary>Ends when a call has come.</summary>
    public Task Asked => _asked.Task;

    public int Port => ((IPEndPoint)_listener.LocalEndpoint).Port;

    public void Dispose()
    {
        _stop.Cancel();
        _listener.Dispose();
        _stop.Dispose();
    }

    private async Task AcceptAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var client = await _listener.AcceptTcpClientAsync(_stop.Token);
                _ = _answersPings ? AnswerAsync(client.GetStream()) : Task.CompletedTask;
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task AnswerAsync(NetworkStream stream)
    {
        try
        {
            await stream.ReadExactlyAsync(new byte[PrefaceLength], _stop.Token);
            await stream.WriteAsync(Frame(Settings, 0, []), _stop.Token);
            var header = new byte[HeaderLength];
            while (true)
            {
                await stream.ReadExactlyAsync(header, _stop.Token);
                var content = new byte[BinaryPrimitives.ReadInt32BigEndian(header) >> 8];
                await stream.ReadExactlyAsync(content, _stop.Token);
                if (header[3] == Headers)
                    _asked.TrySetResult();
                if (header[3] is Settings or Ping && (header[4] & Acknowledged) == 0)
                    await stream.WriteAsync(Frame(header[3], Acknowledged, header[3] == Ping ? content : []), _stop.Token);
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or ObjectDisposedException)
        {
            // The client went.
        }
    }

    private static byte[] Frame(byte type, byte flags, byte[] content) => [0, 0, (byte)content.Length, type, flags, 0, 0, 0, 0, .. content];
}
