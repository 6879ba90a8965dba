using System.Security.Cryptography;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Fetches a result, going on where a lost connection broke it off, and checks its size and its hash while it comes.</summary>
internal sealed class ArtifactDownload(CoordinatorClient coordinator)
{
    /// <param name="artifact">Its hash and its size, as the job's result announces them.</param>
    /// <param name="name">What it is, for errors.</param>
    /// <param name="size">The bytes that it can have.</param>
    /// <param name="cancellation">Ends the download.</param>
    /// <exception cref="ClusterException">What is announced, or what came, is not such an artifact.</exception>
    public async Task<byte[]> GetAsync(Artifact artifact, string name, (long Least, long Most) size, CancellationToken cancellation)
    {
        if (artifact.SizeBytes < size.Least || artifact.SizeBytes > size.Most)
            throw new ClusterException($"\"{name}\" is announced with {artifact.SizeBytes:N0} bytes, expected {size.Least:N0} to {size.Most:N0} for the layers of its job. Train again, and look at the worker that it comes from.");
        var content = new byte[artifact.SizeBytes];
        for (var isDoubted = false; ; isDoubted = true)
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await FillAsync(artifact, name, content, hash, isDoubted, cancellation).ConfigureAwait(false);
            var found = ContentHash.OfDigest(hash.GetHashAndReset());
            if (found == artifact.Hash)
                return content;
            if (isDoubted) // the coordinator has looked at its own: it is whole
                throw new ClusterException($"\"{name}\" of coordinator {coordinator.Address} came with the SHA-256 {found}, expected its id, {artifact.Id}: its store or the way here damages data. Train again, and look at the coordinator's disk.");
        }
    }

    private async Task FillAsync(Artifact artifact, string name, byte[] content, IncrementalHash hash, bool isDoubted, CancellationToken cancellation)
    {
        using var backoff = new Backoff(coordinator.Options.ReconnectTimeout, coordinator.Options.Time);
        var offset = 0;
        while (true)
        {
            RpcException lost;
            try
            {
                using var download = coordinator.Blobs.Download(new DownloadRequest { Id = artifact.Id, Offset = offset, Kind = BlobKind.Artifact, IsDoubted = isDoubted }, cancellationToken: cancellation);
                while (await download.ResponseStream.NextWithinAsync(coordinator.Options.SilenceLimit, coordinator.Options.Time, cancellation).ConfigureAwait(false))
                {
                    var total = download.ResponseStream.Current.TotalBytes;
                    var data = download.ResponseStream.Current.Data.Span;
                    if (data.Length > content.Length - offset || (total != 0 && total != content.Length))
                        throw OtherSize(total > content.Length ? $"has {total:N0}" : "has more");
                    if (data.IsEmpty && content.Length > 0)
                        throw OtherSize("comes in pieces without any");
                    data.CopyTo(content.AsSpan(offset));
                    hash.AppendData(data);
                    offset += data.Length;
                    backoff.Succeeded();
                }

                // It was all that there is: asked again, it would end there again.
                if (offset < content.Length)
                    throw OtherSize($"ends after {offset:N0}");
                return;
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!ClusterErrors.IsTransient(e))
                    throw ClusterErrors.Translate(e, coordinator.Address);
                lost = e;
            }

            if (!await backoff.WaitAsync(lost, cancellation).ConfigureAwait(false))
                throw ClusterErrors.GaveUp(coordinator.Address, backoff, lost);
        }

        ClusterException OtherSize(string what) => new($"\"{name}\" of coordinator {coordinator.Address} {what} bytes, expected the {content.Length:N0} that its job announces. Train again, and look at the coordinator's store.");
    }
}
