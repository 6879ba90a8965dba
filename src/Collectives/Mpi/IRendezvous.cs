using MLDistributed.Collectives.Heartbeats;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// How the ranks of a world reach one another beside the network that they compute over: to find one another, and to
/// tell of an end. In a cluster it is the way by the agents and the coordinator.
/// </summary>
public interface IRendezvous
{
    /// <summary>Completes with the rank that has aborted, or is gone, when one has.</summary>
    Task<int> Aborted { get; }

    /// <summary>Gives every rank's text to every rank, in rank order; returns when all have brought theirs. All ranks call it alike often.</summary>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    IReadOnlyList<string> AllGather(string mine, CancellationToken stop);

    /// <summary>Completes <see cref="Aborted"/> of all other ranks, soon. From any thread; does not wait, and does not throw.</summary>
    /// <param name="rank">The rank that it is because of.</param>
    void Abort(int rank);

    /// <summary>Says which ranks this one does not hear over the network that they compute over. From any thread; does not wait, and does not throw.</summary>
    /// <param name="silent">These.</param>
    /// <param name="isLost">Whether one was silent for so long that the attempt ends by it.</param>
    void TellUnheard(IReadOnlyList<SilentPeer> silent, bool isLost) { }
}
