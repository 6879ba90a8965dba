using System.Globalization;
using System.Security.Cryptography;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Downloads;

/// <summary>Fetches artifacts into files, going on where a lost connection broke one off, and checks them against their ids.</summary>
internal sealed class BlobDownload(Blobs.BlobsClient blobs, TimeProvider time)
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan GiveUpAfter = TimeSpan.FromMinutes(1);

    /// <param name="artifact">Its size and hash.</param>
    /// <param name="path">A file that is not there yet. It is whole when this returns, and its caller's to remove when this throws.</param>
    /// <param name="cancellation">Ends the download.</param>
    /// <exception cref="CliException">What came is not the artifact.</exception>
    public async Task SaveAsync(Artifact artifact, string path, CancellationToken cancellation)
    {
        var file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 16, FileOptions.Asynchronous);
        await using (file.ConfigureAwait(false))
        {
            if (await FillAsync(artifact, file, isDoubted: false, cancellation).ConfigureAwait(false) != artifact.Hash)
            {
                // Once more, with the doubt told: the coordinator looks at its own file first.
                file.SetLength(0);
                if (await FillAsync(artifact, file, isDoubted: true, cancellation).ConfigureAwait(false) is var found && found != artifact.Hash)
                    throw new CliException($"Artifact {artifact.Id} came with the SHA-256 {found}, expected its id: the coordinator's store or the way here damages data. Try again, and look at the coordinator's disk.");
            }

            file.Flush(flushToDisk: true);
        }
    }

    // Returns the hash of what came.
    private async Task<ContentHash> FillAsync(Artifact artifact, FileStream file, bool isDoubted, CancellationToken cancellation)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var still = new AwakeStopwatch(time);
        while (!await FetchAsync(artifact, file, hash, still, isDoubted, cancellation).ConfigureAwait(false))
            await Task.Delay(RetryDelay, time, cancellation).ConfigureAwait(false);
        return ContentHash.OfDigest(hash.GetHashAndReset());
    }

    // False: worth another connection.
    private async Task<bool> FetchAsync(Artifact artifact, FileStream file, IncrementalHash hash, AwakeStopwatch still, bool isDoubted, CancellationToken cancellation)
    {
        try
        {
            using var call = blobs.Download(new DownloadRequest { Id = artifact.Id, Offset = file.Position, Kind = BlobKind.Artifact, IsDoubted = isDoubted }, cancellationToken: cancellation);
            while (await call.ResponseStream.NextWithinAsync(GiveUpAfter, time, cancellation).ConfigureAwait(false))
            {
                var (data, total) = (call.ResponseStream.Current.Data.Memory, call.ResponseStream.Current.TotalBytes);
                if (data.Length > artifact.SizeBytes - file.Position || (total != 0 && total != artifact.SizeBytes))
                    throw OtherSize("is longer than");
                if (data.IsEmpty && artifact.SizeBytes > 0)
                    throw OtherSize("comes in empty pieces, without");
                hash.AppendData(data.Span);
                await file.WriteAsync(data, cancellation).ConfigureAwait(false);
                still.Restart();
            }

            // It was all that there is: asked again, it would end there again.
            return file.Position == artifact.SizeBytes ? true : throw OtherSize(string.Create(CultureInfo.InvariantCulture, $"ended after {file.Position:N0} bytes, before"));
        }
        catch (RpcException e) when ((e.StatusCode is StatusCode.Unavailable or StatusCode.Internal or StatusCode.Aborted or StatusCode.DeadlineExceeded || Pushback.Of(e) is not null) && still.Elapsed < GiveUpAfter)
        {
            await Task.Delay(Pushback.Of(e) ?? TimeSpan.Zero, time, cancellation).ConfigureAwait(false);
            return false;
        }

        CliException OtherSize(string what) => new(string.Create(CultureInfo.InvariantCulture, $"Artifact {artifact.Id} {what} its {artifact.SizeBytes:N0} bytes. Look at the coordinator's store, and at the worker that the artifact comes from."));
    }
}
