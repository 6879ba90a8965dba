using System.Threading.Channels;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Connections;

namespace MLDistributed.Worker.Transfers;

/// <summary>Stores the checkpoints of one attempt behind its back, one at a time; of those that wait, the newest counts.</summary>
internal sealed class CheckpointUploader
{
    private readonly Channel<RankCheckpoint> _waiting = Channel.CreateBounded<RankCheckpoint>(
        new BoundedChannelOptions(1) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true }, dropped => File.Delete(dropped.Path));

    private readonly Task _uploading;
    private long _stepOnItsWay;
    private volatile TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public CheckpointUploader(BlobTransfer blobs, Outbox outbox, AgentLog log, CancellationToken cancellation) =>
        _uploading = UploadAsync(blobs, outbox, log, cancellation);

    /// <summary>The step of the newest that is not stored yet; 0: there is none.</summary>
    public long StepOnItsWay => Interlocked.Read(ref _stepOnItsWay);

    public void Add(RankCheckpoint checkpoint)
    {
        Interlocked.Exchange(ref _stepOnItsWay, checkpoint.Step);
        _waiting.Writer.TryWrite(checkpoint);
    }

    /// <summary>Completes when the next is stored.</summary>
    public Task Next => _next.Task;

    /// <summary>No more will come: completes when the last is stored.</summary>
    public Task CompleteAsync()
    {
        _waiting.Writer.TryComplete();
        return _uploading;
    }

    private async Task UploadAsync(BlobTransfer blobs, Outbox outbox, AgentLog log, CancellationToken cancellation)
    {
        string? older = null;
        await foreach (var checkpoint in _waiting.Reader.ReadAllAsync(cancellation).ConfigureAwait(false))
        {
            try
            {
                var artifact = await blobs.UploadAsync(checkpoint.Path, onProgress: null, cancellation).ConfigureAwait(false);
                outbox.Post(new WorkerMessage
                {
                    CheckpointSaved = new CheckpointSaved { AttemptId = checkpoint.AttemptId, Artifact = artifact, Epoch = checkpoint.Epoch, Step = checkpoint.Step },
                });
                Interlocked.Exchange(ref _next, new(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
                if (older is not null && older != checkpoint.Path)
                    File.Delete(older);
                older = checkpoint.Path;
            }
            catch (Exception e) when (e is TransferException or IOException)
            {
                // The attempt goes on; a later checkpoint may be stored.
                log.CheckpointLost(checkpoint.AttemptId, e.Message);
                outbox.Post(new WorkerMessage
                {
                    AttemptEvent = new AttemptEvent
                    {
                        AttemptId = checkpoint.AttemptId,
                        Log = new LogLine { Level = LogLevel.Warning, Source = "worker", Message = $"The checkpoint of step {checkpoint.Step} was not stored, and a failure would cost more: {e.Message}" },
                    },
                });
            }

            Interlocked.CompareExchange(ref _stepOnItsWay, 0, checkpoint.Step);
        }
    }
}
