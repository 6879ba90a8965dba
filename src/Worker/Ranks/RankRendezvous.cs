using MLDistributed.Protocol;
using MLDistributed.Worker.Connections;

namespace MLDistributed.Worker.Ranks;

/// <summary>The way to the other workers' first ranks: by the agents and the coordinator.</summary>
internal sealed class RankRendezvous(RankStart start, FrameWriter writer) : WorkersRendezvous(start.AttemptId, start.FirstRound)
{
    protected override void Send(Gather gather) => writer.Write(new RankEvent { Gather = gather });

    protected override void Send(Abort abort) => Tell(new RankEvent { Abort = abort });

    protected override void Send(Unheard unheard) => Tell(new RankEvent { Unheard = unheard });

    private void Tell(RankEvent message)
    {
        try
        {
            writer.Write(message);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The agent is gone, and this process goes with it.
        }
    }
}
