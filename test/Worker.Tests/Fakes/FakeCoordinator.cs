using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Threading.Channels;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using MLDistributed.Protocol;

namespace Worker.Tests.Fakes;

/// <summary>The other end of the wire: says what tests tell it to, and keeps what it hears.</summary>
internal sealed class FakeCoordinator : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);
    private readonly Channel<WorkerMessage> _heard = Channel.CreateUnbounded<WorkerMessage>();
    private WebApplication? _app;
    private long _epoch;

    private FakeCoordinator(string socketPath) => SocketPath = socketPath;

    public string SocketPath { get; }

    public Uri Address => new($"unix://{SocketPath}");

    /// <summary>The same over the network, where workers must join.</summary>
    public Uri NetworkAddress { get; private set; } = new("http://127.0.0.1:1");

    /// <summary>The only credential that is good over the network; a join makes a new one.</summary>
    public string Credential { get; set; } = "first";

    public ConcurrentQueue<string> Joins { get; } = new();

    /// <summary>What the stream is refused with; null: it is welcome.</summary>
    public Status? Refusal { get; set; }

    /// <summary>What joins are refused with; null: they are welcome.</summary>
    public Status? JoinRefusal { get; set; }

    /// <summary>What uploads are answered with; null: they are taken.</summary>
    public Status? UploadRefusal { get; set; }

    /// <summary>So many uploads end with their connection, as when the coordinator is killed.</summary>
    public int BrokenUploads;

    /// <summary>What was downloaded, over all.</summary>
    public long SentBytes;

    /// <summary>Whether it finds its datasets damaged when they are doubted.</summary>
    public bool LooksAtItsOwn { get; set; }

    /// <summary>Downloads wait for it after each chunk.</summary>
    public Task Gate { get; set; } = Task.CompletedTask;

    /// <summary>So many up- and downloads are refused for the moment.</summary>
    public int Crowded;

    public string SharedStore { get; set; } = "";

    public ConcurrentDictionary<string, byte[]> Datasets { get; } = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, byte[]> Artifacts { get; } = new(StringComparer.Ordinal);

    public ConcurrentQueue<DownloadRequest> Downloads { get; } = new();

    private void RefuseForTheMoment()
    {
        if (Interlocked.Decrement(ref Crowded) >= 0)
            throw Pushback.Refusal("There is no room for it. Try again in a moment.", TimeSpan.FromMilliseconds(20));
    }

    /// <summary>Downloads break after so many bytes, once.</summary>
    public int BreakDownloadAfter { get; set; } = int.MaxValue;

    private Connection? Current { get; set; }

    public static async Task<FakeCoordinator> StartAsync(string socketPath)
    {
        var coordinator = new FakeCoordinator(socketPath);
        await coordinator.UpAsync();
        return coordinator;
    }

    public async Task UpAsync()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.ListenUnixSocket(SocketPath, listen => listen.Protocols = HttpProtocols.Http2);
            kestrel.Listen(System.Net.IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2);
        });
        builder.Services.AddGrpc();
        builder.Services.AddSingleton(this);
        _app = builder.Build();
        _app.MapGrpcService<WorkersService>();
        _app.MapGrpcService<BlobsService>();
        await _app.StartAsync();
        NetworkAddress = _app.Urls.Select(u => new Uri(u)).Single(u => u.Host == "127.0.0.1");
    }

    public async Task DownAsync()
    {
        Current?.Ended.Cancel();
        await _app!.StopAsync();
        await _app.DisposeAsync();
        File.Delete(SocketPath);
    }

    public void Send(WorkerCommand command) => Current!.Commands.Writer.TryWrite(command);

    /// <summary>The next message that is of interest; others before it are passed over.</summary>
    public async Task<T> HearAsync<T>(Func<WorkerMessage, T?> select)
        where T : class
    {
        using var patience = new CancellationTokenSource(Patience);
        await foreach (var message in _heard.Reader.ReadAllAsync(patience.Token))
            if (select(message) is { } found)
                return found;
        throw new InvalidOperationException("The channel does not end.");
    }

    public async ValueTask DisposeAsync()
    {
        Current?.Ended.Cancel();
        await _app!.DisposeAsync();
    }

    private sealed record Connection(Channel<WorkerCommand> Commands, CancellationTokenSource Ended);

    private sealed class WorkersService(FakeCoordinator owner) : Workers.WorkersBase
    {
        public override Task<JoinReply> Join(JoinRequest request, ServerCallContext context)
        {
            owner.Joins.Enqueue(request.Token);
            if (owner.JoinRefusal is { } refusal)
                throw new RpcException(refusal);
            return Task.FromResult(new JoinReply { WorkerId = "w1", Credential = owner.Credential });
        }

        public override async Task Connect(IAsyncStreamReader<WorkerMessage> requestStream, IServerStreamWriter<WorkerCommand> responseStream, ServerCallContext context)
        {
            if (context.RequestHeaders.GetValue("authorization") is { } bearer && bearer != $"Bearer {owner.Credential}")
                throw new RpcException(new Status(StatusCode.Unauthenticated, "not this credential"));
            if (owner.Refusal is { } refusal)
                throw new RpcException(refusal);
            var connection = owner.Current = new Connection(Channel.CreateUnbounded<WorkerCommand>(), CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken));
            Assert.IsTrue(await requestStream.MoveNext(connection.Ended.Token));
            await responseStream.WriteAsync(new WorkerCommand { Welcome = new Welcome { SessionEpoch = ++owner._epoch, HeartbeatSeconds = 0.2, SharedStore = owner.SharedStore } });
            owner._heard.Writer.TryWrite(requestStream.Current);
            var sending = SendAsync();
            try
            {
                while (await requestStream.MoveNext(connection.Ended.Token))
                    owner._heard.Writer.TryWrite(requestStream.Current);
            }
            catch (Exception e) when (e is IOException or OperationCanceledException or InvalidOperationException)
            {
                // The worker, or this coordinator, is gone.
            }

            connection.Commands.Writer.TryComplete();
            await sending;

            async Task SendAsync()
            {
                await foreach (var command in connection.Commands.Reader.ReadAllAsync())
                    await responseStream.WriteAsync(command);
            }
        }
    }

    private sealed class BlobsService(FakeCoordinator owner) : Blobs.BlobsBase
    {
        public override async Task Download(DownloadRequest request, IServerStreamWriter<Chunk> responseStream, ServerCallContext context)
        {
            owner.Downloads.Enqueue(request);
            owner.RefuseForTheMoment();
            var files = request.Kind == BlobKind.Dataset ? owner.Datasets : owner.Artifacts;
            if (request.IsDoubted && owner.LooksAtItsOwn && request.Kind == BlobKind.Dataset)
                throw new RpcException(new Status(StatusCode.DataLoss, $"Dataset \"{request.Id}\" was damaged on the coordinator's disk and is removed."));
            if (!files.TryGetValue(request.Id, out var content))
                throw new RpcException(new Status(StatusCode.NotFound, $"\"{request.Id}\" is not here."));
            var (limit, sent) = (owner.BreakDownloadAfter, 0);
            var end = request.Length > 0 ? (int)(request.Offset + request.Length) : content.Length;
            var chunkBytes = content.Length > 1 << 20 ? 64 << 10 : 1000;
            for (var offset = (int)request.Offset; offset < end; offset += chunkBytes)
            {
                if (sent >= limit)
                {
                    owner.BreakDownloadAfter = int.MaxValue;
                    throw new RpcException(new Status(StatusCode.Unavailable, "gone for a moment"));
                }

                var length = Math.Min(chunkBytes, end - offset);
                await responseStream.WriteAsync(new Chunk { Id = request.Id, TotalBytes = content.Length, Data = ByteString.CopyFrom(content, offset, length) });
                sent += length;
                Interlocked.Add(ref owner.SentBytes, length);
                await owner.Gate.WaitAsync(context.CancellationToken);
            }
        }

        public override async Task<UploadReply> Upload(IAsyncStreamReader<Chunk> requestStream, ServerCallContext context)
        {
            if (owner.UploadRefusal is { } refusal)
                throw new RpcException(refusal);
            owner.RefuseForTheMoment();
            var content = new MemoryStream();
            while (await requestStream.MoveNext(context.CancellationToken))
            {
                content.Write(requestStream.Current.Data.Span);
                if (Interlocked.Decrement(ref owner.BrokenUploads) >= 0)
                    context.GetHttpContext().Features.GetRequiredFeature<IConnectionLifetimeFeature>().Abort();
            }

            var id = Convert.ToHexStringLower(SHA256.HashData(content.ToArray()));
            owner.Artifacts[id] = content.ToArray();
            return new UploadReply { Artifact = new Artifact { Id = id, SizeBytes = content.Length } };
        }
    }
}
