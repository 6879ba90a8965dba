using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>How a job's ranks are divided among several workers: all that it asks for holds, or there is no division.</summary>
internal static class Gang
{
    /// <summary>How many workers there are for a job, and how many ranks they have together.</summary>
    /// <param name="job">The job, of a placement on several workers.</param>
    /// <param name="levels">How many slots workers have, the most first, and how many workers have so many.</param>
    /// <param name="canMeet">Whether ranks of two of these workers can meet; false: one worker has all.</param>
    /// <returns>The first so many workers, and their ranks; (0, 0): they cannot hold it.</returns>
    public static (int Workers, int Ranks) Measure(PendingJob job, IEnumerable<(int Slots, int Count)> levels, bool canMeet)
    {
        var target = job.MaxRanks == 0 ? JobSpecRules.MaxRanks : job.MaxRanks;
        var most = canMeet ? Math.Min(target / job.MinPerWorker, JobSpecRules.MaxWorkers) : 1;
        var (workers, slots) = (0, 0L);
        foreach (var (size, count) in levels)
        {
            var offer = Offer(job, size);
            if (offer < job.MinPerWorker || workers == most || (slots >= target && job.Placement == Placement.Pack))
                break;
            var taken = Math.Min(count, most - workers);
            if (job.Placement == Placement.Pack)
                taken = (int)Math.Min(taken, (target - slots + offer - 1) / offer);
            (workers, slots) = (workers + taken, slots + (long)taken * offer);
        }

        var ranks = (int)Math.Min(target, slots);
        return workers == 0 || ranks < job.MinRanks || ranks < workers * job.MinPerWorker ? (0, 0) : (workers, ranks);
    }

    /// <summary>Gives each worker its ranks: to pack, the first ones all they can have; to spread, all equally many where they have them.</summary>
    /// <param name="job">The job.</param>
    /// <param name="slots">How many each worker has free, the most first.</param>
    /// <param name="ranks">As <see cref="Measure"/> says for these workers.</param>
    public static int[] Divide(PendingJob job, IReadOnlyList<int> slots, int ranks)
    {
        var shares = new int[slots.Count];
        Array.Fill(shares, job.MinPerWorker);
        for (var rest = ranks - job.MinPerWorker * slots.Count; rest > 0;)
        {
            for (var i = 0; i < shares.Length && rest > 0; i++)
            {
                var more = Math.Min(Offer(job, slots[i]) - shares[i], job.Placement == Placement.Pack ? rest : Math.Min(rest, 1));
                (shares[i], rest) = (shares[i] + more, rest - more);
            }
        }

        return shares;
    }

    private static int Offer(PendingJob job, int slots) => job.MaxPerWorker == 0 ? slots : Math.Min(slots, job.MaxPerWorker);
}
