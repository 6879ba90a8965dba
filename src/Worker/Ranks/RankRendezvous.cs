using System.Collections.Concurrent;
using Google.Protobuf;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>The way to the other workers' first ranks: by the agents and the coordinator.</summary>
internal sealed class RankRendezvous(string attemptId, FrameWriter writer) : IRendezvous
{
    private readonly BlockingCollection<Gathered> _gathered = [];
    private readonly TaskCompletionSource<int> _aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _round;

    public Task<int> Aborted => _aborted.Task;

    public IReadOnlyList<string> AllGather(string mine, CancellationToken stop)
    {
        var round = _round++;
        writer.Write(new RankEvent { Gather = new Gather { AttemptId = attemptId, Round = round, Text = ByteString.CopyFromUtf8(mine) } });
        // What was asked twice is answered twice.
        while (true)
            if (_gathered.Take(stop) is var gathered && gathered.Round == round)
                return [.. gathered.Texts.Select(t => t.ToStringUtf8())];
    }

    public void Abort(int rank) => Tell(new RankEvent { Abort = new Abort { AttemptId = attemptId, Rank = rank } });

    public void TellUnheard(IReadOnlyList<SilentPeer> silent, bool isLost)
    {
        var told = new Unheard { AttemptId = attemptId, IsLost = isLost };
        told.Workers.AddRange(silent.Select(s => new UnheardWorker { Participant = s.Rank, Seconds = s.Silence.TotalSeconds, Address = s.Address }));
        Tell(new RankEvent { Unheard = told });
    }

    /// <summary>Takes what the agent tells.</summary>
    public void Take(Gathered gathered) => _gathered.Add(gathered);

    /// <summary>Takes what the agent tells.</summary>
    public void Take(Abort abort) => _aborted.TrySetResult(abort.Rank);

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
