using MLDistributed.Protocol;
using MLDistributed.Training.Commits;

namespace MLDistributed.Worker.Attempts;

/// <summary>
/// The memory in which jobs leave their newest state to their next attempt here. A running attempt has its own; of jobs that
/// wait for another attempt it is kept for a while. On the mailbox.
/// </summary>
internal sealed class CommitStore(string folder, TimeProvider time, Action<Action> post) : IDisposable
{
    /// <summary>
    /// From when it was kept last. Longer than the backoff, and than a third tie keeps a worker from gangs (4 min), with some more to
    /// be placed. After that the job may be anywhere, and others need the memory.
    /// </summary>
    public static readonly TimeSpan KeptFor = TimeSpan.FromMinutes(5);

    private readonly Dictionary<OpaqueId, (CommitFile File, long Number)> _waiting = [];
    private long _lastNumber;

    /// <summary>What the job's last attempt here has left, or an empty one; null where there can be none.</summary>
    /// <exception cref="IOException">Shared memory is full.</exception>
    public CommitFile? Take(OpaqueId jobId)
    {
        if (!_waiting.Remove(jobId, out var kept))
            return CommitFile.Create(folder);
        kept.File.ClearSteps();
        return kept.File;
    }

    /// <summary>An attempt has ended and another may follow.</summary>
    public void Keep(OpaqueId jobId, CommitFile file)
    {
        // Two attempts of a job run here while the first, given up, is being stopped.
        if (_waiting.Remove(jobId, out var other))
        {
            var isOlder = file.NewestStep() < other.File.NewestStep();
            (isOlder ? file : other.File).Dispose();
            file = isOlder ? other.File : file;
        }

        _waiting.Add(jobId, (file, ++_lastNumber));
        _ = ForgetLaterAsync(jobId, _lastNumber);
    }

    public void Dispose()
    {
        foreach (var kept in _waiting.Values)
            kept.File.Dispose();
        _waiting.Clear();
    }

    // An attempt may have had it meanwhile and left it again: that time has not begun with this one.
    private async Task ForgetLaterAsync(OpaqueId jobId, long number)
    {
        await Task.Delay(KeptFor, time).ConfigureAwait(false);
        post(() =>
        {
            if (!_waiting.TryGetValue(jobId, out var kept) || kept.Number != number)
                return;
            _waiting.Remove(jobId);
            kept.File.Dispose();
        });
    }
}
