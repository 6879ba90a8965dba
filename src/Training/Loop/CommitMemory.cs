using MLDistributed.Protocol;
using MLDistributed.Training.Commits;

namespace MLDistributed.Training.Loop;

/// <summary>Whether a rank has memory of its agent's to leave its state in.</summary>
internal static class CommitMemory
{
    private const double MiB = 1 << 20;

    /// <summary>The agent's; null: it gave none, or this rank cannot open it.</summary>
    /// <exception cref="IOException">The attempt begins with what is in it, and it cannot be opened.</exception>
    public static CommitFile? Open(RankStart start, IRankReporter reporter)
    {
        if (start.CommitPath.Length == 0 || start.WorldSize > CommitFile.MaxRanks)
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

    /// <summary>Whether the state fits, twice, beside what the job itself takes. Rank 0 decides for all.</summary>
    public static bool HasRoom(RankState state, long memoryBytes, IRankReporter reporter)
    {
        var (start, spec) = (state.Start, state.Spec);
        // Where ranks share no memory, each has the whole, and their hosts' agents would have to agree.
        if (start.CommitPath.Length == 0 || spec.Checkpoint is not { IntervalEpochs: > 0 } || state.Segment.WorldSize != start.WorldSize)
            return false;
        // What is there already has found its room.
        if (!state.IsFirst || start.CommitStep > 0)
            return true;
        var bytes = new CommitLayout(state).Bytes(state.ValidationCount > 0);
        var needs = MemoryNeeds.Of(spec, state.Layout, start.WorldSize, isOnDevice: state.Tensors.StaysOnDevice).TotalBytes + BatchMemory.LeastBytes(spec, state.BatchSize, start.WorldSize, start.Device == DeviceKind.Cuda);
        // Half of what is free: other jobs need shared memory to start at all.
        var free = new DriveInfo(Path.GetDirectoryName(Path.GetFullPath(start.SegmentPath))!).AvailableFreeSpace;
        if (needs + bytes <= memoryBytes && bytes <= free / 2)
            return true;
        reporter.Log(Warning($"The state is not kept in memory between checkpoints: twice, it takes {bytes / MiB:N1} MiB, expected at most half of the {free / MiB:N1} MiB that are free in shared memory, " +
            $"and with the job's own {(double)needs / MiB:N1} MiB at most the machine's {memoryBytes / MiB:N1} MiB. A failure goes back to the last checkpoint."));
        return false;
    }

    private static LogLine Warning(string message) => new() { Level = LogLevel.Warning, Message = message };
}
