using System.Security.Cryptography;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Fetches a result, going on where a lost connection broke it off, and checks it against its id.</summary>
internal sealed class ArtifactDownload(CoordinatorClient coordinator)
{
    public async Task<byte[]> GetAsync(Artifact artifact, CancellationToken cancellation)
    {
        if (artifact.SizeBytes < 0 || artifact.SizeBytes > Array.MaxLength)
            throw new ClusterException($"Artifact {artifact.Id} has {artifact.SizeBytes:N0} bytes, expected at most {Array.MaxLength:N0}.");
        var content = new byte[artifact.SizeBytes];
        await FillAsync(artifact, content, cancellation).ConfigureAwait(false);
        var hash = Convert.ToHexStringLower(SHA256.HashData(content));
        return hash == artifact.Id
            ? content
            : throw new ClusterException($"Artifact {artifact.Id} of coordinator {coordinator.Address} came with the SHA-256 {hash}, expected its id: its store or the way here damages data. Train again, and look at the coordinator's disk.");
    }

    private async Task FillAsync(Artifact artifact, byte[] content, CancellationToken cancellation)
    {
        var backoff = new Backoff(coordinator.Options.ReconnectTimeout, coordinator.Options.Time);
        var offset = 0;
        while (true)
        {
            RpcException lost;
            try
            {
                using var download = coordinator.Blobs.Download(new DownloadRequest { Id = artifact.Id, Offset = offset, Kind = BlobKind.Artifact }, cancellationToken: cancellation);
                while (await download.ResponseStream.MoveNext(cancellation).ConfigureAwait(false))
                {
                    var data = download.ResponseStream.Current.Data.Span;
                    if (data.Length > content.Length - offset)
                        throw new ClusterException($"Artifact {artifact.Id} is longer than its {content.Length:N0} bytes. Look at the coordinator's log.");
                    data.CopyTo(content.AsSpan(offset));
                    offset += data.Length;
                    if (data.Length > 0)
                        backoff.Succeeded();
                }

                if (offset == content.Length)
                    return;
                lost = new RpcException(new Status(StatusCode.Unavailable, $"it ended after {offset:N0} of {content.Length:N0} bytes"));
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!ClusterErrors.IsTransient(e))
                    throw ClusterErrors.Translate(e, coordinator.Address);
                lost = e;
            }

            if (!await backoff.WaitAsync(cancellation).ConfigureAwait(false))
                throw ClusterErrors.NotThere(coordinator.Address, backoff.Attempts, backoff.Spent, lost);
        }
    }
}
