using MLDistributed.Collectives;

namespace MLDistributed.Training.Commits;

/// <summary>What a rank knows of its host's commits, before the first step.</summary>
/// <param name="SpeaksForHost">Whether it is the first rank of its host's memory; what others say does not count.</param>
/// <param name="HasRoom">Whether commits fit there.</param>
/// <param name="Step">The state there that training could go on from; 0: none.</param>
/// <param name="Attempt">Which attempt has written it.</param>
internal readonly record struct CommitOffer(bool SpeaksForHost, bool HasRoom, long Step, ulong Attempt)
{
    private const int Numbers = 5;

    /// <summary>Tells all ranks, which all call it, and hears what they offer, in the order of the ranks.</summary>
    public CommitOffer[] Exchange(ICollective ranks)
    {
        // Numbers that doubles have exactly; all others' are 0.
        var told = new double[Numbers * ranks.WorldSize];
        if (SpeaksForHost)
            new[] { 1, HasRoom ? 1 : 0, Step, (double)(Attempt >> 32), (uint)Attempt }.CopyTo(told, Numbers * ranks.Rank);
        ranks.AllReduce(told);
        return [.. told.Chunk(Numbers).Select(n => new CommitOffer(n[0] > 0, n[1] > 0, (long)n[2], ((ulong)n[3] << 32) | (ulong)n[4]))];
    }
}

/// <summary>What all ranks make of their offers, the same on each but for the last. Pure.</summary>
/// <param name="Source">The rank that speaks for a host with the newest state; -1: no host has any.</param>
/// <param name="Step">Which state that is.</param>
/// <param name="IsEverywhere">Whether each host has that very state, and no network is needed.</param>
/// <param name="HasRoom">Whether commits fit on any host: that makes them, and after a failure the others ask it.</param>
/// <param name="HasRoomHere">Whether they fit on this rank's host.</param>
internal readonly record struct CommitChoice(int Source, long Step, bool IsEverywhere, bool HasRoom, bool HasRoomHere)
{
    /// <summary>The newest wins, and of several by different attempts that of the first rank: each host's state is whole, and none is ever put together of two.</summary>
    /// <param name="offers">By rank.</param>
    /// <param name="speaker">The rank that speaks for this one's host.</param>
    public static CommitChoice Of(IReadOnlyList<CommitOffer> offers, int speaker)
    {
        var speakers = offers.Index().Where(o => o.Item.SpeaksForHost).ToList();
        var hasRoom = speakers.Any(s => s.Item.HasRoom);
        var (source, newest) = speakers.OrderByDescending(s => s.Item.Step).ThenBy(s => s.Index).First();
        return newest.Step == 0
            ? new CommitChoice(-1, 0, IsEverywhere: false, hasRoom, offers[speaker].HasRoom)
            : new CommitChoice(source, newest.Step, speakers.All(s => (s.Item.Step, s.Item.Attempt) == (newest.Step, newest.Attempt)), hasRoom, offers[speaker].HasRoom);
    }
}
