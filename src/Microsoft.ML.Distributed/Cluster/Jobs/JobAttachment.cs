using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A job that somebody submitted, watched to its end.</summary>
internal sealed class JobAttachment(CoordinatorClient coordinator, IProgress<TrainingProgress>? progress, Action<LogLine> log)
{
    // That it failed matters more than what can be done then.
    private static readonly TimeSpan s_patience = TimeSpan.FromSeconds(2);

    public async Task<ITransformer> GetAsync(string jobId, IHostEnvironment environment, CancellationToken cancellation)
    {
        var job = await AskAsync(coordinator, jobId, cancellation).ConfigureAwait(false);
        if (job.Spec.ModelSchema.IsEmpty && job.Spec.ModelFrame is null)
            throw new ClusterException($"Job {jobId} has no columns with it, expected a job of a trainer of this release whose class names fit. Fetch its files instead: `mldist models download {jobId}`.") { JobId = jobId };
        if (job.Spec.ModelSchema.Length > JobSpecRules.MaxModelSchemaBytes)
            throw new ClusterException($"Job {jobId}'s columns take {job.Spec.ModelSchema.Length:N0} bytes, expected at most {JobSpecRules.MaxModelSchemaBytes:N0}. Look at the coordinator: it may not be the one you think.") { JobId = jobId };
        // Before the wait, which may be long.
        var frame = await GetFrameAsync(jobId, job.Spec.ModelFrame, environment, cancellation).ConfigureAwait(false);
        if (frame is { NeedsSchema: true } && job.Spec.ModelSchema.IsEmpty)
            throw new ClusterException($"Job {jobId} has what stands around its network and no columns with it, expected both. Fetch its files instead: `mldist models download {jobId}`.") { JobId = jobId };
        var end = await new JobRun(coordinator, job.Spec, progress, log).WatchAsync(jobId, cancellation).ConfigureAwait(false);
        if (end.State != JobState.Succeeded)
            throw new TrainingFailedException(jobId, await ExplainAsync(coordinator, jobId, end, cancellation).ConfigureAwait(false), end.Failure);
        var onnx = await JobRun.DownloadModelAsync(coordinator, jobId, job.Spec, end.Result, cancellation).ConfigureAwait(false);
        var network = TrainedNetwork.Accept(onnx, ModelSchema.Without(job.Spec), end.Result, jobId);
        try
        {
            return frame?.Make(environment, network, job.Spec.ModelSchema) ?? ModelSchema.MakeTransformer(environment, network, job.Spec.ModelSchema);
        }
        catch (Exception e) when (ModelFrame.IsUnreadable(e))
        {
            throw CannotBeMade(jobId, $"its columns cannot be read here ({e.Message.TrimEnd('.')})", e);
        }
    }

    private async Task<ModelFrame?> GetFrameAsync(string jobId, MLDistributed.Protocol.ModelFrame? named, IHostEnvironment environment, CancellationToken cancellation)
    {
        if (named is null)
            return null;
        if (!ContentHash.TryParse(named.FileId, out _))
            throw new ClusterException($"Job {jobId}'s frame is \"{VisibleText.Shortened(named.FileId)}\", expected {ContentHash.Expectation}. Look at the coordinator: it may not be the one you think.") { JobId = jobId };
        var bytes = await new ArtifactDownload(coordinator).GetAsync(new Artifact { Id = named.FileId, SizeBytes = named.SizeBytes }, "frame", (1, JobSpecRules.MaxModelFrameBytes), cancellation).ConfigureAwait(false);
        try
        {
            return ModelFrame.Read(environment, bytes);
        }
        catch (FormatException e)
        {
            throw CannotBeMade(jobId, e.Message, e);
        }
    }

    private static ClusterException CannotBeMade(string jobId, string why, Exception e) =>
        new($"Job {jobId}'s transformer cannot be made: {why}, expected an app with the packages of its trainer, as MLDistributed.Text for texts and MLDistributed.Images for images. Add it, or fetch the job's files instead: `mldist models download {jobId}`.", e) { JobId = jobId };

    /// <summary>Why a job has no model, and from where it can be resumed.</summary>
    public static async Task<string> ExplainAsync(CoordinatorClient coordinator, string jobId, StateChanged end, CancellationToken cancellation)
    {
        var words = end.State == JobState.Cancelled ? $"Job {jobId} was cancelled: {end.Reason}" : end.Failure?.Message is { Length: > 0 } message ? message : end.Reason;
        using var patience = new CancellationTokenSource(s_patience, coordinator.Options.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellation, patience.Token);
        try
        {
            var kept = (await AskAsync(coordinator, jobId, either.Token).ConfigureAwait(false)).KeptStep;
            return kept == 0 ? words : $"{words.TrimEnd('.')}. {nameof(TrainingCluster)}.{nameof(TrainingCluster.ResumeAsync)}(\"{jobId}\"), or `mldist jobs resume {jobId}`, goes on from step {kept}.";
        }
        catch (Exception e) when (e is ClusterException or ArgumentException or OperationCanceledException)
        {
            return words;
        }
    }

    private static async Task<JobSnapshot> AskAsync(CoordinatorClient coordinator, string jobId, CancellationToken cancellation)
    {
        var job = await coordinator.CallAsync(o => coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }, o), cancellation).ConfigureAwait(false);
        job.Spec ??= new JobSpec();
        return job.MakeVisible();
    }
}
