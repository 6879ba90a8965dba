using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>One job from submission to its model.</summary>
internal sealed class JobRun(CoordinatorClient coordinator, JobSpec spec, IProgress<TrainingProgress>? progress, Action<LogLine> log)
{
    // A broken watch that lived this long was a good one: the job just had nothing to tell.
    private static readonly TimeSpan s_goodWatch = TimeSpan.FromSeconds(10);

    // Cancel must come back within 2 s, whatever the coordinator does.
    private static readonly TimeSpan s_cancelLimit = TimeSpan.FromSeconds(1.5);

    private readonly TimeProvider _time = coordinator.Options.Time;

    public async Task<TrainedJob> RunAsync(CancellationToken cancellation)
    {
        var request = new SubmitJobRequest { Spec = spec, RequestId = Guid.NewGuid().ToString("N") };
        using var giveUp = new CancellationTokenSource();

        // Not ended by the caller's token: a job that the coordinator got must be known to be cancelled.
        var submitted = coordinator.CallAsync(o => coordinator.Jobs.SubmitJobAsync(request, o), giveUp.Token);
        var ended = false;
        try
        {
            var jobId = (await submitted.WaitAsync(cancellation).ConfigureAwait(false)).MakeVisible().JobId;
            var end = await WatchAsync(jobId, cancellation).ConfigureAwait(false);
            ended = true;
            return end.State switch
            {
                JobState.Succeeded => new TrainedJob(jobId, await DownloadModelAsync(coordinator, jobId, spec, end.Result, cancellation).ConfigureAwait(false), end.Result),
                JobState.Cancelled => throw new OperationCanceledException($"Job {jobId} was cancelled: {end.Reason}"),
                _ => throw new TrainingFailedException(jobId, await JobAttachment.ExplainAsync(coordinator, jobId, end, cancellation).ConfigureAwait(false), end.Failure),
            };
        }
        catch (Exception e) when (!ended && e is not ClusterException && !submitted.IsFaulted)
        {
            await CancelAsync(submitted, e is OperationCanceledException ? "Fit was cancelled." : $"Fit ended with {e.GetType().Name}.").ConfigureAwait(false);
            throw;
        }
        finally
        {
            await giveUp.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Submits the job and returns its id; a job that the caller does not wait for any more is cancelled.</summary>
    public async Task<string> SubmitAsync(CancellationToken cancellation)
    {
        var request = new SubmitJobRequest { Spec = spec, RequestId = Guid.NewGuid().ToString("N") };
        using var giveUp = new CancellationTokenSource();
        var submitted = coordinator.CallAsync(o => coordinator.Jobs.SubmitJobAsync(request, o), giveUp.Token);
        try
        {
            return (await submitted.WaitAsync(cancellation).ConfigureAwait(false)).MakeVisible().JobId;
        }
        catch (OperationCanceledException)
        {
            await CancelAsync(submitted, "Its submission was cancelled.").ConfigureAwait(false);
            throw;
        }
        finally
        {
            await giveUp.CancelAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Tells of a job until its end, and how that was.</summary>
    public Task<StateChanged> WatchAsync(string jobId, CancellationToken cancellation) => WatchAsync(jobId, new JobNarrator(jobId, spec, progress, log, _time), cancellation);

    private async Task<StateChanged> WatchAsync(string jobId, JobNarrator narrator, CancellationToken cancellation)
    {
        using var backoff = new Backoff(coordinator.Options.ReconnectTimeout, _time);
        var sequence = 0L;
        while (true)
        {
            RpcException? lost = null;
            var before = sequence;
            var opened = _time.GetTimestamp();
            using (var watch = coordinator.Jobs.WatchJob(new WatchJobRequest { JobId = jobId, AfterSequence = sequence }, cancellationToken: cancellation))
            {
                // Only the call is tried: what a listener throws is its own, whatever it is, and Fit throws it too.
                while (await TryAsync(() => watch.ResponseStream.NextOrAskAsync(coordinator.Options.Quiet, async () => await EndOfAsync(jobId, cancellation).ConfigureAwait(false) is null, _time, cancellation)).ConfigureAwait(false))
                {
                    var e = watch.ResponseStream.Current.MakeVisible();
                    if (e is { Sequence: 0, Log: { } said })
                        log(said);
                    if (e.Sequence < sequence || e.Sequence == sequence && e.State?.State is not (JobState.Queued or JobState.Recovering))
                        continue; // heard before; why a job waits comes without a number of its own
                    sequence = e.Sequence;
                    narrator.Tell(e);
                    if (e.State is { } change && IsEnd(change.State))
                        return change;
                }
            }

            if (lost is null && await TryAsync(() => EndOfAsync(jobId, cancellation)).ConfigureAwait(false) is { } end)
                return end;
            if (sequence > before || _time.GetElapsedTime(opened) > s_goodWatch)
                backoff.Succeeded();
            if (backoff.Attempts == 0)
                narrator.Say(LogLevel.Warning, $"lost the coordinator after event {sequence}, connecting again; the training goes on meanwhile");
            if (!await backoff.WaitAsync(lost, cancellation).ConfigureAwait(false))
                throw ClusterErrors.JobLost(coordinator.Address, jobId, backoff.Spent, lost);

            async Task<T?> TryAsync<T>(Func<Task<T>> call)
            {
                try
                {
                    return await call().ConfigureAwait(false);
                }
                catch (RpcException e)
                {
                    cancellation.ThrowIfCancellationRequested();
                    lost = ClusterErrors.IsTransient(e) ? e : throw ClusterErrors.Translate(e, coordinator.Address);
                    return default;
                }
            }
        }
    }

    /// <summary>How the job ended, where its events do not tell; null while it has not.</summary>
    private async Task<StateChanged?> EndOfAsync(string jobId, CancellationToken cancellation)
    {
        var job = await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }, cancellationToken: cancellation)
            .AnswerWithinAsync(coordinator.Options.ConnectTimeout, _time).ConfigureAwait(false);
        return IsEnd(job.MakeVisible().State) ? new StateChanged { State = job.State, Reason = job.Reason, Result = job.Result, Failure = job.Failure } : null;
    }

    /// <summary>The model of a job that succeeded.</summary>
    public static async Task<byte[]> DownloadModelAsync(CoordinatorClient coordinator, string jobId, JobSpec spec, JobResult? result, CancellationToken cancellation)
    {
        if (result is null || !result.Artifacts.TryGetValue(ArtifactName.Onnx, out var artifact))
            throw new ClusterException($"Job {jobId} succeeded without \"{ArtifactName.Onnx}\" among its artifacts. Look at the coordinator's log.") { JobId = jobId };
        if (JobResultRules.Refusal(result, spec) is { } refusal)
            throw new ClusterException($"Job {jobId}'s result is not used: {refusal}. Look at the worker that it comes from.") { JobId = jobId };
        return await new ArtifactDownload(coordinator).GetAsync(artifact, ArtifactName.Onnx, SizeOfModel(jobId, spec), cancellation).ConfigureAwait(false);
    }

    private static (long Least, long Most) SizeOfModel(string jobId, JobSpec spec)
    {
        try
        {
            return JobModel.Bytes(spec);
        }
        catch (FormatException e)
        {
            throw new ClusterException($"The model of job {jobId} is not fetched: {e.Message}", e) { JobId = jobId };
        }
    }

    private async Task CancelAsync(Task<SubmitJobReply> submitted, string reason)
    {
        using var limit = new CancellationTokenSource(s_cancelLimit, _time);
        try
        {
            var job = await submitted.WaitAsync(limit.Token).ConfigureAwait(false);
            await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = job.JobId, Reason = reason }, cancellationToken: limit.Token).ResponseAsync
                .WaitAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception e) when (e is RpcException or OperationCanceledException or ClusterException or ArgumentException or ObjectDisposedException)
        {
            log(new LogLine { Level = LogLevel.Warning, Source = "client", Message = $"The coordinator did not confirm the cancellation in time ({e.Message}); it cancels a job that nobody watches." });
        }
    }

    private static bool IsEnd(JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;
}
