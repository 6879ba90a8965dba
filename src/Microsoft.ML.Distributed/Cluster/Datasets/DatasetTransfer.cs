using System.Globalization;
using System.Text;
using Apache.Arrow.Flight;
using Apache.Arrow.Flight.Client;
using Apache.Arrow.Ipc;
using Google.Protobuf;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Brings an encoded dataset to the cluster, unless the cluster has it: handed over by renaming where both share a file
/// system, else sent by Arrow Flight from the first batch on that the cluster has not yet.
/// </summary>
internal sealed class DatasetTransfer(CoordinatorClient coordinator, IProgress<TrainingProgress>? progress, Action<LogLine> log)
{
    private const string FirstBatchHeader = "mldist-first-batch";
    private const string RowsHeader = "mldist-rows";

    // What a coordinator reads, hashes and makes durable in a second on a slow disk that others use too.
    private const double SlowBytesPerSecond = 10e6;

    public async Task ProvideAsync(EncodedDataset dataset, CancellationToken cancellation)
    {
        using var backoff = new Backoff(coordinator.Options.ReconnectTimeout, coordinator.Options.Time);
        var received = -1L;
        while (true)
        {
            var found = await FindAsync(dataset, cancellation).ConfigureAwait(false);
            if (found.Complete)
                return;
            // No other machine names paths on this one.
            if (found.AdoptsFiles && coordinator.Address.Scheme == UnixSocketAddress.Scheme)
            {
                await AdoptAsync(dataset, found.IncomingFolder, cancellation).ConfigureAwait(false);
                return;
            }

            if (found.ReceivedBatches > received && received >= 0)
                backoff.Succeeded(); // it gets on, however often the connection breaks
            received = found.ReceivedBatches;
            try
            {
                await SendAsync(dataset, received, cancellation).ConfigureAwait(false);
                if ((await FindAsync(dataset, cancellation).ConfigureAwait(false)).Complete)
                    return;
                throw new RpcException(new Status(StatusCode.Aborted, "The coordinator ended the upload early."));
            }
            catch (RpcException e)
            {
                cancellation.ThrowIfCancellationRequested();
                if (!MayGoOn(e))
                    throw ClusterErrors.Translate(e, coordinator.Address);
                log(new LogLine { Level = LogLevel.Warning, Source = "client", Message = $"The upload of dataset {dataset.Id.Text[..8]} broke after batch {received}: {ConnectionFailure.Describe(e)} It goes on from what arrived." });
                if (!await backoff.WaitAsync(e, cancellation).ConfigureAwait(false))
                    throw ClusterErrors.GaveUp(coordinator.Address, backoff, e);
            }
        }
    }

    // The coordinator asks for another try, after it threw damaged batches away or when its count was another.
    private static bool MayGoOn(RpcException e) =>
        ClusterErrors.IsTransient(e) || e.StatusCode is StatusCode.DataLoss or StatusCode.FailedPrecondition;

    private Task<FindDatasetReply> FindAsync(EncodedDataset dataset, CancellationToken cancellation) =>
        coordinator.CallAsync(o => coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = dataset.Id.Text }, o), cancellation);

    private async Task AdoptAsync(EncodedDataset dataset, string incomingFolder, CancellationToken cancellation)
    {
        var path = dataset.Path;
        if (incomingFolder.Length > 0 && !string.Equals(Path.GetDirectoryName(path), Path.TrimEndingDirectorySeparator(incomingFolder), StringComparison.Ordinal))
        {
            path = Path.Combine(incomingFolder, Path.GetFileName(path));
            Directory.CreateDirectory(incomingFolder);
            File.Move(dataset.Path, path, overwrite: true);
        }

        try
        {
            var work = TimeSpan.FromSeconds(new FileInfo(path).Length / SlowBytesPerSecond);
            var request = new AdoptDatasetRequest { DatasetId = dataset.Id.Text, Path = path, RowCount = dataset.RowCount };
            await coordinator.CallAsync(o => coordinator.Datasets.AdoptDatasetAsync(request, o), cancellation, work).ConfigureAwait(false);
        }
        catch (ArgumentException) when (!File.Exists(path))
        {
            // The reply to a first call may have been lost: then the file is adopted, and gone.
            if (!(await FindAsync(dataset, cancellation).ConfigureAwait(false)).Complete)
                throw;
        }
        finally
        {
            File.Delete(path); // there only when it was not adopted
        }
    }

    private async Task SendAsync(EncodedDataset dataset, long firstBatch, CancellationToken cancellation)
    {
        var file = new FileStream(dataset.Path, FileMode.Open, FileAccess.Read, FileShare.Read);
        await using (file.ConfigureAwait(false))
        {
            using var reader = new ArrowFileReader(file, leaveOpen: true);
            var count = await reader.RecordBatchCountAsync().ConfigureAwait(false);
            var first = firstBatch.ToString(CultureInfo.InvariantCulture);
            var headers = new Metadata
            {
                { FirstBatchHeader, first },
                { RowsHeader, dataset.RowCount.ToString(CultureInfo.InvariantCulture) },
            };
            var schema = DatasetSchema.Create(dataset.Shape);
            var (limit, time) = (coordinator.Options.SilenceLimit, coordinator.Options.Time);
            using var call = await new FlightClient(coordinator.Invoker)
                .StartPut(FlightDescriptor.CreatePathDescriptor(dataset.Id.Text), schema, headers, null, cancellation).ConfigureAwait(false);
            var answered = DrainAsync(call.ResponseStream, cancellation);
            for (var index = firstBatch; index < count; index++)
            {
                using var batch = await reader.ReadRecordBatchAsync((int)index, cancellation).ConfigureAwait(false);
                var metadata = index == firstBatch ? ByteString.CopyFrom(first, Encoding.ASCII) : ByteString.Empty;
                if (!await Patience.InTimeAsync(call.RequestStream.WriteAsync(batch, metadata), limit, time).IsTakenAsync().ConfigureAwait(false))
                    break;
                Report(index + 1, count, file.Length);
            }

            // The answer waits until all is on the disk.
            await call.RequestStream.CompleteAsync().IsTakenAsync().ConfigureAwait(false);
            await Patience.InTimeAsync(answered, limit + TimeSpan.FromSeconds(file.Length / SlowBytesPerSecond), time).ConfigureAwait(false);
        }
    }

    private static async Task DrainAsync(IAsyncStreamReader<FlightPutResult> answers, CancellationToken cancellation)
    {
        while (await answers.MoveNext(cancellation).ConfigureAwait(false))
        {
        }
    }

    private void Report(long sent, long count, long bytes) => progress?.Report(new TrainingProgress
    {
        JobId = "",
        State = TrainingState.Uploading,
        Fraction = (double)sent / count,
        Message = $"{sent * bytes / count / 1e6:0.0} of {bytes / 1e6:0.0} MB sent",
    });
}
