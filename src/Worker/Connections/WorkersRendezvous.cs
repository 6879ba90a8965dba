using System.Collections.Concurrent;
using Google.Protobuf;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Connections;

/// <summary>The way to the other workers of an attempt, by the coordinator: of the agents, and then of their first ranks.</summary>
/// <param name="attemptId">The attempt.</param>
/// <param name="firstRound">The number of the first round here.</param>
internal abstract class WorkersRendezvous(string attemptId, int firstRound) : IRendezvous
{
    private readonly BlockingCollection<Gathered> _gathered = [];
    private readonly TaskCompletionSource<int> _aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>The number of the round that comes next.</summary>
    public int NextRound { get; private set; } = firstRound;

    public Task<int> Aborted => _aborted.Task;

    public IReadOnlyList<string> AllGather(string mine, CancellationToken stop)
    {
        var round = NextRound++;
        Send(new Gather { AttemptId = attemptId, Round = round, Text = ByteString.CopyFromUtf8(mine) });
        // What was asked twice is answered twice.
        while (true)
            if (_gathered.Take(stop) is var gathered && gathered.Round == round)
                return [.. gathered.Texts.Select(t => t.ToStringUtf8())];
    }

    public void Abort(int rank) => Send(new Abort { AttemptId = attemptId, Rank = rank });

    public void TellUnheard(IReadOnlyList<SilentPeer> silent, bool isLost) => Send(new Unheard
    {
        AttemptId = attemptId,
        IsLost = isLost,
        Workers = { silent.Select(s => new UnheardWorker { Participant = s.Rank, Seconds = s.Silence.TotalSeconds, Address = s.Address, IsConnection = s.IsConnection }) },
    });

    /// <summary>Takes what the coordinator tells.</summary>
    public void Take(Gathered gathered) => _gathered.Add(gathered);

    /// <summary>Takes what the coordinator tells.</summary>
    public void Take(Abort abort) => _aborted.TrySetResult(abort.Rank);

    protected abstract void Send(Gather gather);

    // These two do not throw.
    protected abstract void Send(Abort abort);

    protected abstract void Send(Unheard unheard);
}
