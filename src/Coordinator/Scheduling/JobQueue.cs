using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// The jobs that wait, by priority and then by number, grouped by what they need at least. Of a group only the head is ever
/// tried: where it does not fit, none behind it does. So a round costs what there are groups, however many jobs wait.
/// </summary>
internal sealed class JobQueue
{
    private static readonly Comparer<PendingJob> s_byTime = Comparer<PendingJob>.Create((a, b) => (a.NotBefore, a.Number).CompareTo((b.NotBefore, b.Number)));

    private readonly Dictionary<OpaqueId, PendingJob> _jobs = [];
    private readonly Dictionary<DeviceView, SortedDictionary<int, SortedSet<PendingJob>>> _groups = []; // by device, then by least ranks
    private readonly Dictionary<GangNeed, SortedSet<PendingJob>> _gangs = []; // of several workers
    private readonly Dictionary<string, int> _ofTenant = new(StringComparer.Ordinal);
    private readonly SortedSet<PendingJob> _delayed = new(s_byTime);

    /// <summary>Another number whenever something changed.</summary>
    public long Version { get; private set; }

    /// <summary>How many wait, those after a failure too, of a tenant or (null) of all.</summary>
    public int CountOf(string? tenant) => tenant is null ? _jobs.Count : _ofTenant.GetValueOrDefault(tenant);

    /// <summary>In the order of the queue.</summary>
    public static Comparer<PendingJob> Order { get; } = Comparer<PendingJob>.Create((a, b) => (-(long)a.Priority, a.Number).CompareTo((-(long)b.Priority, b.Number)));

    public PendingJob? Find(OpaqueId id) => _jobs.GetValueOrDefault(id);

    /// <summary>Adds a job, or replaces it. One with a <see cref="PendingJob.NotBefore"/> is asleep until <see cref="Wake"/>.</summary>
    public void Put(PendingJob job)
    {
        Remove(job.Id);
        _jobs.Add(job.Id, job);
        _ofTenant[job.Tenant] = _ofTenant.GetValueOrDefault(job.Tenant) + 1;
        if (job.NotBefore > TimeSpan.Zero)
            _delayed.Add(job);
        else
            Group(job).Add(job);
        Version++;
    }

    public void Remove(OpaqueId id)
    {
        if (!_jobs.Remove(id, out var job))
            return;
        Version++;
        if (--_ofTenant[job.Tenant] == 0)
            _ofTenant.Remove(job.Tenant);
        if (_delayed.Remove(job))
            return;
        if (job.Placement != Placement.OneWorker)
        {
            var gangs = _gangs[GangNeed.Of(job)];
            gangs.Remove(job);
            if (gangs.Count == 0)
                _gangs.Remove(GangNeed.Of(job));
            return;
        }

        var groups = _groups[job.View];
        var group = groups[job.MinRanks];
        group.Remove(job);
        if (group.Count == 0)
            groups.Remove(job.MinRanks);
    }

    /// <summary>Lets the jobs in whose time has come.</summary>
    public void Wake(TimeSpan now)
    {
        while (_delayed.Min is { } first && first.NotBefore <= now)
            Put(first with { NotBefore = TimeSpan.Zero });
    }

    /// <summary>The first of each group that the workers could hold, in the order of the queue.</summary>
    public IReadOnlyList<PendingJob> Heads(SlotIndex slots)
    {
        var heads = new List<PendingJob>();
        foreach (var (view, groups) in _groups)
        {
            var largest = slots.Largest(view);
            heads.AddRange(groups.TakeWhile(g => g.Key <= largest).Select(g => g.Value.Min!));
        }

        heads.AddRange(_gangs.Values.Select(g => g.Min!).Where(slots.CanHold));
        heads.Sort(Order);
        return heads;
    }

    /// <summary>Those that the workers could not hold, were all idle.</summary>
    public IEnumerable<PendingJob> Unplaceable(SlotIndex slots) => _groups.SelectMany(d => d.Value.Where(g => g.Key > slots.Largest(d.Key)).SelectMany(g => g.Value))
        .Concat(_gangs.Values.Where(g => !slots.CanHold(g.Min!)).SelectMany(g => g));

    private SortedSet<PendingJob> Group(PendingJob job)
    {
        if (job.Placement != Placement.OneWorker)
        {
            var need = GangNeed.Of(job);
            if (!_gangs.TryGetValue(need, out var gang))
                _gangs.Add(need, gang = new SortedSet<PendingJob>(Order));
            return gang;
        }

        if (!_groups.TryGetValue(job.View, out var groups))
            _groups.Add(job.View, groups = []);
        if (!groups.TryGetValue(job.MinRanks, out var group))
            groups.Add(job.MinRanks, group = new SortedSet<PendingJob>(Order));
        return group;
    }
}
