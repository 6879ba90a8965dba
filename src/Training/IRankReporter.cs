using MLDistributed.Protocol;

namespace MLDistributed.Training;

/// <summary>Hears what a rank has to say. Rank 0 speaks of progress, epochs and checkpoints; all may log.</summary>
public interface IRankReporter
{
    /// <summary>All ranks have met; training begins.</summary>
    void Started();

    /// <summary>A few times a second.</summary>
    void Progress(Progress progress);

    /// <summary>After every epoch.</summary>
    void Epoch(EpochEnded epoch);

    /// <summary>A checkpoint file is complete at this path; the file before it may be deleted.</summary>
    void Checkpoint(string path, int epoch, long step);

    /// <summary>Whether a checkpoint was asked for since the last call, out of turn: the machine is to be left. Asked at every step of rank 0.</summary>
    bool TakeCheckpointRequest() => false;

    /// <summary>Something worth saying.</summary>
    void Log(LogLine line);
}
