using MLDistributed.Protocol;

namespace MLDistributed.Worker.Attempts;

/// <summary>What this worker is in an attempt.</summary>
/// <param name="FirstRank">The first of its ranks, of all in the attempt.</param>
/// <param name="WorldSize">How many there are.</param>
/// <param name="IsShared">Whether other workers take part.</param>
internal sealed record AttemptPlace(int FirstRank, int WorldSize, bool IsShared)
{
    /// <summary>Whether it has rank 0, which makes the checkpoints and the result.</summary>
    public bool IsFirst => FirstRank == 0;

    public static AttemptPlace Of(StartAttempt start) => start.Participants.Count == 0
        ? new AttemptPlace(0, start.Slots.Count, IsShared: false)
        : new AttemptPlace(start.Participants.Take(start.Participant).Sum(p => p.Ranks), start.Participants.Sum(p => p.Ranks), IsShared: true);

    /// <summary>What is wrong with it; null: nothing.</summary>
    public static string? Fault(StartAttempt start) =>
        start.Participants.Count == 0 || start.Participant < start.Participants.Count && start.Participants[start.Participant].Ranks == start.Slots.Count && start.Participants.All(p => p.Ranks > 0) && start.Participants.Count > 1
            ? null
            : $"Attempt \"{start.AttemptId}\" has ranks [{string.Join(", ", start.Participants.Select(p => p.Ranks))}] on its workers, of which this is number {start.Participant} with {start.Slots.Count} slots, expected as many ranks as slots.";
}
