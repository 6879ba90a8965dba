using MLDistributed.Protocol;
using MLDistributed.Training;

namespace MLDistributed.Worker.Ranks;

/// <summary>Sends what training says to the agent, on the training thread: no other thread of the rank allocates for it.</summary>
internal sealed class RankReporter(string attemptId, FrameWriter writer) : IRankReporter
{
    private int _checkpointRequests;

    public void Started() => writer.Write(new RankEvent { Started = new RankStarted { AttemptId = attemptId } });

    public void Progress(Progress progress) => writer.Write(new RankEvent { Progress = progress });

    public void Epoch(EpochEnded epoch) => writer.Write(new RankEvent { Epoch = epoch });

    public void Checkpoint(string path, int epoch, long step) =>
        writer.Write(new RankEvent { Checkpoint = new RankCheckpoint { AttemptId = attemptId, Path = path, Epoch = epoch, Step = step } });

    public bool TakeCheckpointRequest() => Interlocked.Exchange(ref _checkpointRequests, 0) > 0;

    /// <summary>The agent leaves soon.</summary>
    public void RequestCheckpoint() => Interlocked.Increment(ref _checkpointRequests);

    public void Log(LogLine line) => writer.Write(new RankEvent { Log = line });
}
