using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// The connected workers' slots by kind, by how many a worker has, and by how many of them are free. A placement is found
/// among as many candidates as there are sizes of workers, however many workers there are.
/// </summary>
internal sealed class SlotIndex
{
    private static readonly Comparer<SlotPool> s_byMemory = Comparer<SlotPool>.Create((a, b) => // the most first
        b.MemoryGiB.CompareTo(a.MemoryGiB) is var order && order != 0 ? order : string.CompareOrdinal(a.Worker.Id, b.Worker.Id));
    private static readonly Comparer<PoolKind> s_byKind = Comparer<PoolKind>.Create((a, b) =>
    {
        var (device, model) = (a.Device.CompareTo(b.Device), string.CompareOrdinal(a.Model, b.Model));
        return device != 0 ? device : model != 0 ? model : string.CompareOrdinal(a.Meeting, b.Meeting);
    });

    private readonly Dictionary<string, IReadOnlyList<SlotPool>> _workers = new(StringComparer.Ordinal);
    private readonly SortedDictionary<PoolKind, SortedDictionary<int, SortedDictionary<int, SortedSet<SlotPool>>>> _kinds = new(s_byKind); // kind, total, free
    private readonly SortedSet<SlotPool> _broken = new(Comparer<SlotPool>.Create((a, b) => string.CompareOrdinal(a.Worker.Id, b.Worker.Id) is var order && order != 0 ? order : s_byKind.Compare(PoolKind.Of(a), PoolKind.Of(b))));

    private readonly SortedDictionary<string, WorkerCapacity> _doubted = new(StringComparer.Ordinal);
    private SlotIndex? _trusted; // all but these; null: there are none

    private readonly Dictionary<DeviceView, int> _largest = []; // asked for each waiting job, again and again
    private readonly Dictionary<GangNeed, bool> _holds = [];

    /// <summary>Another number whenever something changed.</summary>
    public long Version { get; private set; }

    /// <summary>No worker with a device is connected.</summary>
    public bool IsEmpty => _kinds.Count == 0;

    /// <exception cref="KeyNotFoundException">It has no slots.</exception>
    public WorkerCapacity Find(string workerId) => _workers[workerId][0].Worker;

    /// <summary>The workers that the job may have: those that are doubted only where the others could not hold it, were all idle.</summary>
    public SlotIndex For(PendingJob job) => _trusted?.CanHold(job) == true ? _trusted : this;

    /// <summary>The doubted workers that the job could use and does not get.</summary>
    public IEnumerable<WorkerCapacity> LeftOut(PendingJob job) =>
        For(job) == this ? [] : _doubted.Values.Where(w => w.Slots.Any(s => DeviceView.Fits(job.Device, s.Kind)));

    /// <summary>Adds a worker, or replaces it.</summary>
    public void Put(WorkerCapacity worker)
    {
        Remove(worker.Id);
        if (worker.Doubt.Length > 0)
            Doubt(worker);
        else
            _trusted?.Put(worker);
        var pools = SlotPool.Of(worker);
        _workers.Add(worker.Id, pools);
        foreach (var pool in pools)
        {
            var totals = Entry(_kinds, PoolKind.Of(pool), static () => []);
            Entry(Entry(totals, pool.Total, static () => []), pool.Free.Count, static () => new SortedSet<SlotPool>(s_byMemory)).Add(pool);
            if (pool.Faults.Count > 0 && pool.Model is not null)
                _broken.Add(pool);
        }

        Changed();
    }

    public void Remove(string workerId)
    {
        if (!_workers.Remove(workerId, out var pools))
            return;
        Changed();
        _trusted?.Remove(workerId);
        if (_doubted.Remove(workerId) && _doubted.Count == 0)
            _trusted = null;
        foreach (var pool in pools)
        {
            _broken.Remove(pool);
            var kind = PoolKind.Of(pool);
            var totals = _kinds[kind];
            var frees = totals[pool.Total];
            frees[pool.Free.Count].Remove(pool);
            if (frees[pool.Free.Count].Count == 0 && frees.Remove(pool.Free.Count) && frees.Count == 0 && totals.Remove(pool.Total) && totals.Count == 0)
                _kinds.Remove(kind);
        }
    }

    /// <summary>The most slots that one worker has for jobs that ask so, free or not; 0: none.</summary>
    public int Largest(DeviceView asked)
    {
        if (!_largest.TryGetValue(asked, out var largest))
            _largest.Add(asked, largest = _kinds.Where(k => asked.Fits(k.Key.View)).Select(k => k.Value.Keys.Last()).DefaultIfEmpty().Max());
        return largest;
    }

    /// <summary>Whether the workers could hold the job, were all idle.</summary>
    public bool CanHold(PendingJob job)
    {
        if (job.Placement == Placement.OneWorker)
            return Largest(job.View) >= job.MinRanks;
        var need = GangNeed.Of(job);
        if (!_holds.TryGetValue(need, out var holds))
            _holds.Add(need, holds = KindsFor(job).Any());
        return holds;
    }

    /// <summary>The kinds of slots that could hold the job, were all idle.</summary>
    public IEnumerable<PoolKind> KindsFor(PendingJob job) => _kinds.Where(k => Holds(job, k.Key, k.Value)).Select(k => k.Key);

    /// <summary>Where all ranks of the job are best placed on one worker now; null: nowhere that the line ahead leaves open.</summary>
    public SlotPool? Best(PendingJob job, WaitingLine ahead) => Open(job, ahead)
        .SelectMany(size => Candidates(job, size.Value))
        // A job that takes all it can get (max 0) is better off on an idle worker than on the rest of a busy one.
        .OrderByDescending(p => job.MaxRanks == 0 && p.IsIdle)
        .ThenByDescending(p => p.Kind == DeviceKind.Cuda)
        .ThenByDescending(p => p.WorldSize(job))
        .ThenByDescending(p => p.MemoryGiB)
        .ThenBy(p => p.Free.Count)
        .ThenBy(p => p.Worker.Id, StringComparer.Ordinal)
        .ThenBy(p => p.Model, StringComparer.Ordinal)
        .FirstOrDefault();

    /// <summary>Where a job of several workers is best placed now: their slots, in the order of the ranks. Empty: the line ahead does not leave enough open.</summary>
    public IReadOnlyList<(SlotPool Pool, int Ranks)> BestGang(PendingJob job, WaitingLine ahead)
    {
        var best = _kinds.Where(k => job.View.Fits(k.Key.View))
            .Select(k => (Levels: OpenLevels(k, ahead).ToList(), Kind: k.Key))
            .Select(k => (k.Levels, k.Kind, Size: Gang.Measure(job, k.Levels.Select(l => (l.Free, l.Pools.Sum(p => p.Count))), k.Kind.CanMeet)))
            .Where(k => k.Size.Workers > 0)
            .OrderByDescending(k => k.Kind.Device == DeviceKind.Cuda)
            .ThenByDescending(k => k.Size.Ranks)
            .ThenByDescending(k => k.Levels.SelectMany(l => l.Pools).Max(p => p.Min!.MemoryGiB))
            .FirstOrDefault();
        if (best.Levels is null)
            return [];
        var pools = best.Levels.SelectMany(l => l.Pools).SelectMany(p => p).Take(best.Size.Workers).ToList();
        var shares = Gang.Divide(job, [.. pools.Select(p => p.Free.Count)], best.Size.Ranks);
        // The rest of a packed job goes where it leaves the least: large workers stay whole for who needs them.
        if (job.Placement == Placement.Pack && best.Levels.Last(l => l.Free >= shares[^1]) is var tightest && tightest.Free < pools[^1].Free.Count)
            pools[^1] = tightest.Pools.Select(p => p.Min!).MinBy(p => p.Worker.Id, StringComparer.Ordinal)!;
        return [.. pools.Zip(shares)];
    }

    /// <summary>Of those that the line ahead leaves open, the one with the most free slots; null: it leaves none.</summary>
    public SlotPool? MostFree(PendingJob job, WaitingLine ahead) => Open(job, ahead).Select(size => size.Value.Last().Value.Min!).MaxBy(p => p.Free.Count);

    /// <summary>The slots that a job of several workers could use, those with the most free first: groups of workers that can meet, the one with the most slots first.</summary>
    public IReadOnlyList<IReadOnlyList<SlotPool>> Usable(PendingJob job) =>
    [
        .. _kinds.Where(k => job.View.Fits(k.Key.View) && k.Key.CanMeet)
            .Select(k => (IReadOnlyList<SlotPool>)[.. k.Value.SkipWhile(t => t.Key < job.LeastOnAWorker).SelectMany(t => t.Value.Values).SelectMany(p => p).OrderByDescending(p => p.Free.Count).ThenBy(p => p.Worker.Id, StringComparer.Ordinal)])
            .Where(pools => pools.Count > 0)
            .OrderByDescending(pools => pools.Sum(p => p.Total)),
    ];

    /// <summary>Those with slots for the job, but whose ranks meet nobody's: of each kind on a worker the one with the most free, and those with the most first.</summary>
    public IReadOnlyList<SlotPool> Apart(PendingJob job) =>
        [.. _kinds.Where(k => job.View.Fits(k.Key.View) && !k.Key.CanMeet).SelectMany(k => k.Value.SkipWhile(t => t.Key < job.LeastOnAWorker).SelectMany(t => t.Value.Values)).SelectMany(p => p)
            .OrderByDescending(p => p.Free.Count).ThenBy(p => p.Worker.Id, StringComparer.Ordinal).DistinctBy(p => (p.Worker.Id, p.Kind))];

    /// <summary>Whether a job that waits keeps slots that another could use.</summary>
    public bool Share(PendingJob one, PendingJob other) =>
        _kinds.Any(k => Holds(one, k.Key, k.Value) && (other.View.Fits(k.Key.View) ? k.Value.Keys.Last() >= Math.Max(one.LeastOnAWorker, other.LeastOnAWorker)
            : other.View.Fits(k.Key.View.Across) && k.Value.SkipWhile(t => t.Key < one.LeastOnAWorker).SelectMany(t => t.Value.Values).SelectMany(p => p).Any(p => p.Across.Any(a => a.Total >= other.LeastOnAWorker))));

    /// <summary>Those with slots that cannot be used; of the job's device when there are any workers with it.</summary>
    public IReadOnlyList<SlotPool> Broken(DeviceKind device)
    {
        var isThere = _kinds.Keys.Any(k => DeviceView.Fits(device, k.Device));
        return [.. _broken.Where(p => !isThere || DeviceView.Fits(device, p.Kind))];
    }

    private void Doubt(WorkerCapacity worker)
    {
        _doubted.Add(worker.Id, worker);
        if (_trusted is not null)
            return;
        _trusted = new SlotIndex();
        foreach (var pools in _workers.Values.Where(p => p.Count > 0))
            _trusted.Put(pools[0].Worker);
    }

    private IEnumerable<KeyValuePair<int, SortedDictionary<int, SortedSet<SlotPool>>>> Open(PendingJob job, WaitingLine ahead) => _kinds
        .Where(k => job.View.Fits(k.Key.View))
        .SelectMany(k => Left(k.Key, k.Value, ahead).SkipWhile(size => size.Key < job.LeastOnAWorker));

    // What the line ahead leaves, by size. Pool by pool only while jobs that mix models wait beside others.
    private static IEnumerable<KeyValuePair<int, SortedDictionary<int, SortedSet<SlotPool>>>> Left(PoolKind kind, SortedDictionary<int, SortedDictionary<int, SortedSet<SlotPool>>> sizes, WaitingLine ahead)
    {
        var left = sizes.TakeWhile(size => size.Key < ahead.ReservedFrom(kind));
        return !ahead.Crosses(kind.View) ? left : left.Select(size => KeyValuePair.Create(size.Key, Left(size.Value, ahead))).Where(size => size.Value.Count > 0);
    }

    private static SortedDictionary<int, SortedSet<SlotPool>> Left(SortedDictionary<int, SortedSet<SlotPool>> byFree, WaitingLine ahead) => new(byFree
        .Select(free => KeyValuePair.Create(free.Key, new SortedSet<SlotPool>(free.Value.Where(p => !ahead.KeepsAcross(p)), s_byMemory)))
        .Where(free => free.Value.Count > 0)
        .ToDictionary());

    // Workers by how many slots they have free, the most first, whatever their sizes.
    private static IEnumerable<(int Free, IReadOnlyList<SortedSet<SlotPool>> Pools)> OpenLevels(KeyValuePair<PoolKind, SortedDictionary<int, SortedDictionary<int, SortedSet<SlotPool>>>> kind, WaitingLine ahead) => Left(kind.Key, kind.Value, ahead)
        .SelectMany(size => size.Value)
        .GroupBy(free => free.Key, free => free.Value)
        .OrderByDescending(level => level.Key)
        .Select(level => (level.Key, (IReadOnlyList<SortedSet<SlotPool>>)[.. level]));

    private static bool Holds(PendingJob job, PoolKind kind, SortedDictionary<int, SortedDictionary<int, SortedSet<SlotPool>>> sizes) => job.View.Fits(kind.View) && (job.Placement == Placement.OneWorker
        ? sizes.Keys.Last() >= job.MinRanks
        : Gang.Measure(job, sizes.Reverse().Select(t => (t.Key, t.Value.Values.Sum(p => p.Count))), kind.CanMeet).Workers > 0);

    // Of one size: of as many free slots the one with the most memory, and the one on an idle worker.
    private static IEnumerable<SlotPool> Candidates(PendingJob job, SortedDictionary<int, SortedSet<SlotPool>> byFree)
    {
        foreach (var (_, pools) in byFree.SkipWhile(f => f.Key < job.MinRanks))
        {
            var first = pools.Min!;
            yield return first;
            // Of a level either all are free or none is; then workers whose other models are busy alone are not idle.
            if (job.MaxRanks == 0 && first is { IsIdle: false } && first.Free.Count == first.Total && pools.FirstOrDefault(p => p.IsIdle) is { } idle)
                yield return idle;
        }
    }

    private void Changed()
    {
        _largest.Clear();
        _holds.Clear();
        Version++;
    }

    private static TValue Entry<TKey, TValue>(SortedDictionary<TKey, TValue> map, TKey key, Func<TValue> make) where TKey : notnull
    {
        if (!map.TryGetValue(key, out var value))
            map.Add(key, value = make());
        return value;
    }
}
