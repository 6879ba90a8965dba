using System.Runtime.CompilerServices;
using Grpc.Core;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Watching;

/// <summary>A job's events from the first to the last, without gaps, over any number of connections.</summary>
internal static class JobWatch
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan GiveUpAfter = TimeSpan.FromMinutes(5);

    /// <summary>What has happened so far; no watcher, whom a job would wait for.</summary>
    public static async IAsyncEnumerable<JobEvent> PastAsync(Jobs.JobsClient jobs, string jobId, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var call = jobs.WatchJob(new WatchJobRequest { JobId = jobId, PastOnly = true }, cancellationToken: cancellation);
        while (await call.ResponseStream.MoveNext(cancellation).ConfigureAwait(false))
            yield return call.ResponseStream.Current;
    }

    public static async IAsyncEnumerable<JobEvent> WatchAsync(Jobs.JobsClient jobs, string jobId, TimeProvider time, [EnumeratorCancellation] CancellationToken cancellation)
    {
        long sequence = 0;
        long? lost = null;
        while (true)
        {
            using var call = jobs.WatchJob(new WatchJobRequest { JobId = jobId, AfterSequence = sequence }, cancellationToken: cancellation);
            while (await NextAsync(call).ConfigureAwait(false))
            {
                lost = null;
                sequence = call.ResponseStream.Current.Sequence;
                yield return call.ResponseStream.Current;
                if (call.ResponseStream.Current.State?.State.IsLast() == true)
                    yield break;
            }

            lost ??= time.GetTimestamp();
            await Task.Delay(RetryDelay, time, cancellation).ConfigureAwait(false);
        }

        // False: worth another connection. A coordinator that was never there is said at once.
        async Task<bool> NextAsync(AsyncServerStreamingCall<JobEvent> call)
        {
            try
            {
                return await call.ResponseStream.MoveNext(cancellation).ConfigureAwait(false);
            }
            catch (RpcException e) when (e.StatusCode is StatusCode.Unavailable or StatusCode.Internal or StatusCode.Aborted
                && sequence > 0 && (lost is null || time.GetElapsedTime(lost.Value) < GiveUpAfter))
            {
                return false;
            }
        }
    }
}
