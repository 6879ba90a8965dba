using MLDistributed.Protocol;
using MLDistributed.Training.Commits;

namespace MLDistributed.Training.Loop;

/// <summary>Whether a rank has memory of its agent's to leave its state in.</summary>
internal static class CommitMemory
{
    private const double MiB = 1 << 20;

    /// <summary>The agent's; null: it gave none, or this rank cannot open it.</summary>
    /// <param name="start">This rank.</param>
    /// <param name="localSize">Ranks of this host.</param>
    /// <param name="reporter">Hears where it cannot.</param>
    /// <exception cref="IOException">The attempt begins with what is in it, and it cannot be opened.</exception>
    public static CommitFile? Open(RankStart start, int localSize, IRankReporter reporter)
    {
        if (start.CommitPath.Length == 0 || localSize > CommitFile.MaxRanks)
            return null;
        try
        {
            return CommitFile.Open(start.CommitPath);
        }
        catch (Exception e) when (start.CommitStep == 0 && e is IOException or UnauthorizedAccessException)
        {
            reporter.Log(Warning($"The worker's memory cannot be opened ({e.Message.TrimEnd('.')}), expected the agent's file of this user. A failure goes back to the last checkpoint."));
            return null;
        }
    }

    /// <summary>Whether the state fits, twice, beside what the job itself takes. The first rank of each host says so for it.</summary>
    /// <param name="state">Of this rank.</param>
    /// <param name="file">The agent's memory; null: there is none.</param>
    /// <param name="hasState">Whether a state is in it, of whatever attempt.</param>
    /// <param name="needs">What the job takes of this host's memory.</param>
    /// <param name="memoryBytes">What that is.</param>
    /// <param name="reporter">Hears where it does not fit.</param>
    public static bool HasRoom(RankState state, CommitFile? file, bool hasState, MemoryNeeds needs, long memoryBytes, IRankReporter reporter)
    {
        var (start, spec) = (state.Start, state.Spec);
        if (file is null || spec.Checkpoint is not { IntervalEpochs: > 0 })
            return false;
        // What is there already has found its room.
        if (!state.IsFirstOfMemory || hasState)
            return true;
        var bytes = new CommitLayout(state).Bytes(state.ValidationCount > 0);
        var jobs = needs.TotalBytes + BatchMemory.LeastBytes(spec, state.BatchSize, start.WorldSize, start.Device == DeviceKind.Cuda, state.Segment.WorldSize);
        // Half of what is free: other jobs need shared memory to start at all.
        var free = new DriveInfo(Path.GetDirectoryName(Path.GetFullPath(start.SegmentPath))!).AvailableFreeSpace;
        if (jobs + bytes <= memoryBytes && bytes <= free / 2)
            return true;
        reporter.Log(Warning($"The state is not kept in memory between checkpoints: twice, it takes {bytes / MiB:N1} MiB, expected at most half of the {free / MiB:N1} MiB that are free in shared memory, " +
            $"and with the job's own {(double)jobs / MiB:N1} MiB at most the machine's {memoryBytes / MiB:N1} MiB. A failure goes back to {(start.Participants.Count > 1 ? "what other workers keep, or " : "")}the last checkpoint."));
        return false;
    }

    private static LogLine Warning(string message) => new() { Level = LogLevel.Warning, Message = message };
}
