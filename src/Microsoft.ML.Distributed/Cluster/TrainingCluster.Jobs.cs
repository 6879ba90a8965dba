using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

// Jobs that outlive their app.
public sealed partial class TrainingCluster
{
    /// <summary>
    /// Encodes and sends the data and starts the job, which then goes on without this app; of the trainer's options,
    /// <see cref="NeuralNetworkOptions.OnDisconnect"/> and <see cref="NeuralNetworkOptions.Cluster"/> do not count.
    /// </summary>
    /// <param name="trainer">A trainer of this library: of tables, rankings, images, texts or modules of your own.</param>
    /// <param name="data">The training data, as this trainer sees it: what stands before it in a pipeline is fitted and applied first.</param>
    /// <param name="cancellation">Ends the encoding and sending, as the options' own token does.</param>
    /// <returns>The job, as soon as the coordinator has it: keep its id.</returns>
    /// <exception cref="ArgumentException">Columns or options are wrong; the message lists all that is. No data was read.</exception>
    /// <exception cref="InvalidDataException">A row cannot be trained on; the message names it.</exception>
    /// <exception cref="ClusterException">The coordinator cannot be reached or refuses the key.</exception>
    /// <example><code>
    /// var keys = ml.Transforms.Conversion.MapValueToKey("Label").Fit(rows);
    /// var job = await cluster.SubmitAsync(ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(), keys.Transform(rows));
    /// // another day, another process
    /// ITransformer model = await cluster.AttachAsync(jobId);
    /// </code></example>
    public async Task<TrainingJob> SubmitAsync(IDistributedTrainer trainer, IDataView data, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(trainer);
        ArgumentNullException.ThrowIfNull(data);
        return new TrainingJob(this, await Task.Run(() => trainer.Submit(this, data, cancellation), cancellation).ConfigureAwait(false));
    }

    /// <summary>
    /// Waits for a job, whoever submitted it, however long ago, and returns the transformer that its trainer's Fit returns or
    /// would have returned. Whoever waits here counts as the job's app: a job that is to be cancelled without one goes on.
    /// </summary>
    /// <param name="jobId">The job's whole id.</param>
    /// <param name="ml">The context whose log tells of the job and that the transformer belongs to; null: a new one.</param>
    /// <param name="progress">Told how far the training is; first, at once, how far it has come.</param>
    /// <param name="cancellation">Ends the wait. The job goes on.</param>
    /// <exception cref="ClusterException">The coordinator cannot be reached, this key's tenant has no such job, or the job's model is not there any more, or no transformer can be made of it here.</exception>
    /// <exception cref="TrainingFailedException">The job failed or was cancelled; the message says whether it can be resumed.</exception>
    public Task<ITransformer> AttachAsync(string jobId, MLContext? ml = null, IProgress<TrainingProgress>? progress = null, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(jobId);
        var environment = ((IInternalCatalog)(ml ?? new MLContext()).Model).Environment;
        return CallAsync(async either =>
        {
            await ReadyAsync(either).ConfigureAwait(false);
            using var channel = environment.Register("TrainingCluster").Start("Training");
            using var log = new TrainingLog(line => TrainingRun.Log(channel, line));
            return await new JobAttachment(_coordinator, progress, log.Write).GetAsync(jobId, environment, either).ConfigureAwait(false);
        }, cancellation);
    }

    /// <summary>
    /// Starts a job that goes on from the last checkpoint of one that failed or was cancelled, with the same specification and
    /// data. It goes on without this app. Resuming the same job again returns the same new one.
    /// </summary>
    /// <param name="jobId">The whole id of the job that ended.</param>
    /// <param name="cancellation">Ends the call.</param>
    /// <returns>The new job.</returns>
    /// <exception cref="ClusterException">The coordinator cannot be reached, this key's tenant has no such job, it did not fail, or no checkpoint of it is kept.</exception>
    public Task<TrainingJob> ResumeAsync(string jobId, CancellationToken cancellation = default)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(jobId);
        return CallAsync(async either =>
        {
            await ReadyAsync(either).ConfigureAwait(false);
            var reply = await _coordinator.CallAsync(o => _coordinator.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = jobId }, o), either).ConfigureAwait(false);
            return new TrainingJob(this, reply.MakeVisible().JobId);
        }, cancellation);
    }

    /// <summary>Ends a job. Returns when its ranks are stopped, or at once when it had ended.</summary>
    internal Task CancelJobAsync(string jobId, string reason, CancellationToken cancellation) => CallAsync(
        either => _coordinator.CallAsync(o => _coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = jobId, Reason = reason }, o), either),
        cancellation);
}
