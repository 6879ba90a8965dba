using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Cli.Tests.Downloads;

/// <summary>A coordinator's store whose connection breaks, and whose disk damages, where a test says.</summary>
internal sealed class FakeBlobs : Blobs.BlobsClient
{
    private readonly Dictionary<string, byte[]> _contents = [];

    /// <summary>How many bytes each connection lives for; all of them when empty.</summary>
    public Queue<int> Cuts { get; } = [];

    /// <summary>What each download asked for.</summary>
    public List<long> Offsets { get; } = [];

    /// <summary>Called before each chunk.</summary>
    public Action OnChunk { get; set; } = () => { };

    public Artifact Add(byte[] content, byte[]? damaged = null)
    {
        var id = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(content));
        _contents[id] = damaged ?? content;
        return new Artifact { Id = id, SizeBytes = content.Length };
    }

    public override AsyncServerStreamingCall<Chunk> Download(DownloadRequest request, Metadata? headers = null, DateTime? deadline = null, CancellationToken cancellationToken = default)
    {
        Offsets.Add(request.Offset);
        var content = _contents[request.Id].AsMemory((int)request.Offset);
        var cut = Cuts.TryDequeue(out var bytes) ? bytes : (int?)null;
        return new(new Chunks(this, content, cut), Task.FromResult(new Metadata()), () => Status.DefaultSuccess, () => [], () => { });
    }

    private sealed class Chunks(FakeBlobs blobs, ReadOnlyMemory<byte> content, int? cut) : IAsyncStreamReader<Chunk>
    {
        private const int ChunkBytes = 4;
        private int _position;

        public Chunk Current { get; private set; } = new();

        public Task<bool> MoveNext(CancellationToken cancellationToken)
        {
            blobs.OnChunk();
            if (cancellationToken.IsCancellationRequested)
                throw new RpcException(new Status(StatusCode.Cancelled, "cancelled"));
            if (_position >= cut)
                throw new RpcException(new Status(StatusCode.Unavailable, "cut"));
            if (_position >= content.Length)
                return Task.FromResult(false);
            var data = content.Slice(_position, Math.Min(ChunkBytes, content.Length - _position));
            _position += data.Length;
            Current = new Chunk { Data = ByteString.CopyFrom(data.Span) };
            return Task.FromResult(true);
        }
    }
}
