using MLDistributed.Protocol;
using MLDistributed.Training.Commits;

namespace MLDistributed.Worker.Attempts;

/// <summary>
/// The memory in which jobs leave their newest state to their next attempt here. A running attempt has its own; of jobs that
/// wait for another attempt it is kept for a while. On the mailbox.
/// </summary>
internal sealed class CommitStore(string folder, TimeProvider time, Action<Action> post) : IDisposable
{
    // The longest backoff, and some more to be placed. After that the job may be anywhere, and others need the memory.
    private static readonly TimeSpan KeptFor = TimeSpan.FromMinutes(2);
    private readonly Dictionary<OpaqueId, CommitFile> _waiting = [];

    /// <summary>What the job's last attempt here has left, or an empty one; null where there can be none.</summary>
    /// <exception cref="IOException">Shared memory is full.</exception>
    public CommitFile? Take(OpaqueId jobId)
    {
        if (!_waiting.Remove(jobId, out var file))
            return CommitFile.Create(folder);
        file.ClearSteps();
        return file;
    }

    /// <summary>An attempt has ended and another may follow.</summary>
    public void Keep(OpaqueId jobId, CommitFile file)
    {
        // Two attempts of a job run here while the first, given up, is being stopped.
        if (_waiting.Remove(jobId, out var other))
        {
            var isOlder = file.NewestStep() < other.NewestStep();
            (isOlder ? file : other).Dispose();
            file = isOlder ? other : file;
        }

        _waiting.Add(jobId, file);
        _ = ForgetLaterAsync(jobId, file);
    }

    public void Dispose()
    {
        foreach (var file in _waiting.Values)
            file.Dispose();
        _waiting.Clear();
    }

    private async Task ForgetLaterAsync(OpaqueId jobId, CommitFile file)
    {
        await Task.Delay(KeptFor, time).ConfigureAwait(false);
        post(() =>
        {
            if (_waiting.GetValueOrDefault(jobId) != file)
                return;
            _waiting.Remove(jobId);
            file.Dispose();
        });
    }
}
