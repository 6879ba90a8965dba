using System.Runtime.CompilerServices;
using Grpc.Core;
using MLDistributed.Cli.Commands;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Watching;

/// <summary>A job's events from the first to the last, without gaps, over any number of connections.</summary>
internal static class JobWatch
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan GiveUpAfter = TimeSpan.FromMinutes(5);

    /// <summary>What has happened so far; no watcher, whom a job would wait for.</summary>
    public static async IAsyncEnumerable<JobEvent> PastAsync(CoordinatorClients clients, string jobId, TimeProvider time, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var call = clients.Jobs.WatchJob(new WatchJobRequest { JobId = jobId, PastOnly = true }, cancellationToken: cancellation);
        while (await call.ResponseStream.NextWithinAsync(clients.Timeout, time, cancellation).ConfigureAwait(false))
            yield return call.ResponseStream.Current;
    }

    /// <summary>All events, as they come. Where none comes, as of a job that waits, the coordinator is asked whether it is there.</summary>
    public static async IAsyncEnumerable<JobEvent> WatchAsync(CoordinatorClients clients, string jobId, TimeProvider time, [EnumeratorCancellation] CancellationToken cancellation)
    {
        long sequence = 0;
        using var lost = new AwakeStopwatch(time);
        while (true)
        {
            using var call = clients.Jobs.WatchJob(new WatchJobRequest { JobId = jobId, AfterSequence = sequence }, cancellationToken: cancellation);
            while (await NextAsync(call).ConfigureAwait(false))
            {
                lost.Restart();
                sequence = Math.Max(sequence, call.ResponseStream.Current.Sequence);
                yield return call.ResponseStream.Current;
                if (call.ResponseStream.Current.State?.State.IsLast() == true)
                    yield break;
            }

            await Task.Delay(RetryDelay, time, cancellation).ConfigureAwait(false);
        }

        // False: worth another connection. A coordinator that was never there is said at once.
        async Task<bool> NextAsync(AsyncServerStreamingCall<JobEvent> call)
        {
            try
            {
                return await call.ResponseStream.NextOrAskAsync(clients.Timeout, GoesOnAsync, time, cancellation).ConfigureAwait(false)
                    || (lost.Elapsed < GiveUpAfter ? false : throw new RpcException(new Status(StatusCode.Unavailable, "It has no more events of the job, and the job's end is not among them.")));
            }
            catch (RpcException e) when ((Pushback.Of(e) is not null || sequence > 0 && e.StatusCode is StatusCode.Unavailable or StatusCode.Internal or StatusCode.Aborted or StatusCode.DeadlineExceeded)
                && lost.Elapsed < GiveUpAfter)
            {
                await Task.Delay(Pushback.Of(e) ?? TimeSpan.Zero, time, cancellation).ConfigureAwait(false);
                return false;
            }
        }

        async Task<bool> GoesOnAsync()
        {
            var job = await clients.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }, cancellationToken: cancellation);
            lost.Restart(); // it answers, though the job has nothing to tell
            return !job.State.IsLast();
        }
    }
}
