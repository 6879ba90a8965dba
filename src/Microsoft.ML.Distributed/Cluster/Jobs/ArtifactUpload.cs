using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Sends a file that a job needs, again from its beginning where a lost connection broke it off: such files are small beside data.</summary>
internal sealed class ArtifactUpload(CoordinatorClient coordinator)
{
    private const int ChunkBytes = 1 << 20;

    // What a coordinator hashes and makes durable in a second on a slow disk that others use too.
    private const double SlowBytesPerSecond = 10e6;

    /// <exception cref="ClusterException">The coordinator does not take it, or is not there.</exception>
    public async Task SendAsync(JobFile file, CancellationToken cancellation)
    {
        using var backoff = new Backoff(coordinator.Options.ReconnectTimeout, coordinator.Options.Time);
        while (true)
        {
            try
            {
                await SendOnceAsync(file, cancellation).ConfigureAwait(false);
                return;
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                var mayGoOn = ClusterErrors.IsTransient(e) || e.StatusCode == StatusCode.DataLoss;
                if (!mayGoOn || !await backoff.WaitAsync(e, cancellation).ConfigureAwait(false))
                    throw ClusterErrors.GaveUp(coordinator.Address, backoff, e);
            }
        }
    }

    private async Task SendOnceAsync(JobFile file, CancellationToken cancellation)
    {
        var (limit, time) = (coordinator.Options.SilenceLimit, coordinator.Options.Time);
        using var call = coordinator.Blobs.Upload(cancellationToken: cancellation);
        var chunk = new Chunk { Id = file.Id.Text, TotalBytes = file.Content.Length };
        for (var offset = 0; offset < file.Content.Length; offset += ChunkBytes)
        {
            chunk.Data = UnsafeByteOperations.UnsafeWrap(file.Content.Slice(offset, Math.Min(ChunkBytes, file.Content.Length - offset)));
            if (!await Patience.InTimeAsync(call.RequestStream.WriteAsync(chunk, cancellation), limit, time).IsTakenAsync().ConfigureAwait(false))
                break;
            chunk = new Chunk();
        }

        await Patience.InTimeAsync(call.RequestStream.CompleteAsync(), limit, time).IsTakenAsync().ConfigureAwait(false);
        var stored = await Patience.InTimeAsync(call.ResponseAsync, limit + TimeSpan.FromSeconds(file.Content.Length / SlowBytesPerSecond), time).ConfigureAwait(false);
        if (stored.Artifact?.Hash != file.Id)
            throw new ClusterException($"Coordinator {coordinator.Address} names a file \"{VisibleText.Shortened(stored.Artifact?.Id ?? "")}\", expected its SHA-256 \"{file.Id}\". Look at the coordinator's store.");
    }
}
