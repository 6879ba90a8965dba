using Google.Protobuf;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A job that somebody submitted, watched to its end.</summary>
internal sealed class JobAttachment(CoordinatorClient coordinator, IProgress<TrainingProgress>? progress, Action<LogLine> log)
{
    public async Task<(TrainedNetwork Network, ByteString Schema)> GetAsync(string jobId, CancellationToken cancellation)
    {
        var job = await AskAsync(jobId, cancellation).ConfigureAwait(false);
        if (job.Spec.ModelSchema.IsEmpty)
            throw new ClusterException($"Job {jobId} has no columns with it, expected a job of a trainer of this release whose class names fit. Fetch its files instead: `mldist models download {jobId}`.") { JobId = jobId };
        if (job.Spec.ModelSchema.Length > JobSpecRules.MaxModelSchemaBytes)
            throw new ClusterException($"Job {jobId}'s columns take {job.Spec.ModelSchema.Length:N0} bytes, expected at most {JobSpecRules.MaxModelSchemaBytes:N0}. Look at the coordinator: it may not be the one you think.") { JobId = jobId };
        var end = await new JobRun(coordinator, job.Spec, progress, log).WatchAsync(jobId, cancellation).ConfigureAwait(false);
        if (end.State != JobState.Succeeded)
            throw new TrainingFailedException(jobId, await ExplainAsync(jobId, end, cancellation).ConfigureAwait(false), end.Failure);
        var onnx = await JobRun.DownloadModelAsync(coordinator, jobId, job.Spec, end.Result, cancellation).ConfigureAwait(false);
        return (TrainedNetwork.Accept(onnx, ModelSchema.Without(job.Spec), end.Result, jobId), job.Spec.ModelSchema);
    }

    private async Task<string> ExplainAsync(string jobId, StateChanged end, CancellationToken cancellation)
    {
        var words = end.State == JobState.Cancelled ? $"Job {jobId} was cancelled: {end.Reason}" : end.Failure?.Message is { Length: > 0 } message ? message : end.Reason;
        var kept = (await AskAsync(jobId, cancellation).ConfigureAwait(false)).KeptStep;
        return kept == 0 ? words : $"{words.TrimEnd('.')}. {nameof(TrainingCluster)}.{nameof(TrainingCluster.ResumeAsync)}(\"{jobId}\"), or `mldist jobs resume {jobId}`, goes on from step {kept}.";
    }

    private async Task<JobSnapshot> AskAsync(string jobId, CancellationToken cancellation)
    {
        var job = await coordinator.CallAsync(o => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }, o), cancellation).ConfigureAwait(false);
        job.Spec ??= new JobSpec();
        return job.MakeVisible();
    }
}
