using System.Buffers.Binary;
using System.Net;
using System.Net.Http.Headers;

namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A gRPC call byte by byte: what it sends need not be a message, nor end.</summary>
internal sealed class RawCall : HttpContent
{
    private readonly byte[] _bytes;
    private readonly TaskCompletionSource _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    private RawCall(byte[] bytes, bool ends)
    {
        _bytes = bytes;
        Headers.ContentType = new MediaTypeHeaderValue("application/grpc");
        if (ends)
            _end.SetResult();
    }

    /// <summary>The status and its words, as they come in headers or trailers.</summary>
    public Task<(StatusCode Code, string Detail)> Answer { get; private set; } = null!;

    /// <summary>Completes when the server has all that is sent.</summary>
    public Task Sent => _sent.Task;

    private readonly TaskCompletionSource _sent = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _gone = new();

    /// <summary>HTTP/2 without TLS; all calls over few connections.</summary>
    public static HttpClient Client(Uri address) => new(new SocketsHttpHandler { EnableMultipleHttp2Connections = true }) { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };

    /// <summary>Begins a call.</summary>
    /// <param name="client">Of <see cref="Client"/>.</param>
    /// <param name="path">"/package.Service/Method".</param>
    /// <param name="key">Null: none.</param>
    /// <param name="bytes">The body.</param>
    /// <param name="ends">Whether it ends behind that; else it goes on for ever and says nothing.</param>
    public static RawCall Begin(HttpClient client, string path, string? key, byte[] bytes, bool ends = false)
    {
        var content = new RawCall(bytes, ends);
        var request = new HttpRequestMessage(HttpMethod.Post, path) { Version = HttpVersion.Version20, VersionPolicy = HttpVersionPolicy.RequestVersionExact, Content = content };
        request.Headers.TE.Add(new TransferCodingWithQualityHeaderValue("trailers"));
        request.Headers.Add(ProtocolVersion.Header, $"{ProtocolVersion.Current}");
        if (key is not null)
            request.Headers.Add("authorization", $"Bearer {key}");
        content.Answer = AnswerAsync(client, request, content._gone.Token);
        _ = content.Answer.ContinueWith(static t => t.Exception, TaskScheduler.Default); // it may be given up
        return content;
    }

    /// <summary>The five bytes before a message, which may say what they like.</summary>
    public static byte[] Prefix(uint length, byte compressed = 0)
    {
        var prefix = new byte[5];
        prefix[0] = compressed;
        BinaryPrimitives.WriteUInt32BigEndian(prefix.AsSpan(1), length);
        return prefix;
    }

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        await stream.WriteAsync(_bytes);
        await stream.FlushAsync();
        _sent.TrySetResult();
        await _end.Task;
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }

    protected override void Dispose(bool disposing)
    {
        _end.TrySetResult();
        _gone.Cancel();
        base.Dispose(disposing);
    }

    private static async Task<(StatusCode, string)> AnswerAsync(HttpClient client, HttpRequestMessage request, CancellationToken cancellation)
    {
        using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancellation);
        await response.Content.ReadAsByteArrayAsync(cancellation);
        var headers = response.Headers.Contains("grpc-status") ? response.Headers : response.TrailingHeaders;
        return ((StatusCode)int.Parse(headers.GetValues("grpc-status").Single(), System.Globalization.CultureInfo.InvariantCulture),
            headers.TryGetValues("grpc-message", out var message) ? Uri.UnescapeDataString(message.Single()) : "");
    }
}
