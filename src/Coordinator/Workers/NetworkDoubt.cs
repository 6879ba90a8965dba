namespace MLDistributed.Coordinator.Workers;

/// <summary>Why a worker is in no attempt over several workers for a while: others and it did not hear one another on their network, and would not again.</summary>
/// <param name="Reason">As in "other workers did not hear it there".</param>
/// <param name="Until">By the coordinator's awake clock.</param>
/// <param name="Period">For how long; the next time twice as long, until one has ended well.</param>
internal sealed record NetworkDoubt(string Reason, TimeSpan Until, TimeSpan Period)
{
    private static readonly TimeSpan s_first = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan s_longest = TimeSpan.FromHours(1);

    /// <summary>The ids of the workers that it may be as well: a gang of one of them with others decides. None: it is this one.</summary>
    public IReadOnlyList<string> Ties { get; init; } = [];

    /// <summary>Whether these still say something: as long as the worker was kept from gangs, and as long again for a gang to decide.</summary>
    public bool IsTieWith(string id, TimeSpan now) => now < Until + Period && Ties.Contains(id);

    /// <summary>Whether its time is over, and it only counts for how long the next is.</summary>
    public bool IsOver { get; init; }

    public static NetworkDoubt After(NetworkDoubt? before, string reason, TimeSpan now)
    {
        var period = before is null ? s_first : before.Period * 2 < s_longest ? before.Period * 2 : s_longest;
        return new NetworkDoubt(reason, now + period, period);
    }
}
