using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Scheduling;

/// <summary>
/// The connected workers' slots by kind, by how many a worker has, and by how many of them are free. A placement is found
/// among as many candidates as there are sizes of workers, however many workers there are.
/// </summary>
internal sealed class SlotIndex
{
    private static readonly Comparer<SlotPool> s_byWorker = Comparer<SlotPool>.Create((a, b) => string.CompareOrdinal(a.Worker.Id, b.Worker.Id));

    private readonly Dictionary<string, IReadOnlyList<SlotPool>> _workers = new(StringComparer.Ordinal);
    private readonly SortedDictionary<DeviceKind, SortedDictionary<int, SortedDictionary<int, SortedSet<SlotPool>>>> _kinds = []; // kind, total, free
    private readonly SortedSet<SlotPool> _broken = new(Comparer<SlotPool>.Create((a, b) => s_byWorker.Compare(a, b) is var order && order != 0 ? order : a.Kind.CompareTo(b.Kind)));

    private readonly Dictionary<DeviceKind, int> _largest = []; // asked for each waiting job, again and again

    /// <summary>Another number whenever something changed.</summary>
    public long Version { get; private set; }

    /// <summary>No worker with a device is connected.</summary>
    public bool IsEmpty => _kinds.Count == 0;

    /// <exception cref="KeyNotFoundException">It has no slots.</exception>
    public WorkerCapacity Find(string workerId) => _workers[workerId][0].Worker;

    /// <summary>Adds a worker, or replaces it.</summary>
    public void Put(WorkerCapacity worker)
    {
        Remove(worker.Id);
        var pools = SlotPool.Of(worker);
        _workers.Add(worker.Id, pools);
        foreach (var pool in pools)
        {
            var totals = Entry(_kinds, pool.Kind, static () => []);
            Entry(Entry(totals, pool.Total, static () => []), pool.Free.Count, static () => new SortedSet<SlotPool>(s_byWorker)).Add(pool);
            if (pool.Faults.Count > 0)
                _broken.Add(pool);
        }

        _largest.Clear();
        Version++;
    }

    public void Remove(string workerId)
    {
        if (!_workers.Remove(workerId, out var pools))
            return;
        Version++;
        _largest.Clear();
        foreach (var pool in pools)
        {
            _broken.Remove(pool);
            var totals = _kinds[pool.Kind];
            var frees = totals[pool.Total];
            frees[pool.Free.Count].Remove(pool);
            if (frees[pool.Free.Count].Count == 0 && frees.Remove(pool.Free.Count) && frees.Count == 0 && totals.Remove(pool.Total) && totals.Count == 0)
                _kinds.Remove(pool.Kind);
        }
    }

    /// <summary>The most slots of a kind that one worker has, free or not; 0: none.</summary>
    public int Largest(DeviceKind device)
    {
        if (!_largest.TryGetValue(device, out var largest))
            _largest.Add(device, largest = _kinds.Where(k => Fits(device, k.Key)).Select(k => k.Value.Keys.Last()).DefaultIfEmpty().Max());
        return largest;
    }

    /// <summary>Where the job is best placed now; null: nowhere that the line ahead leaves open.</summary>
    public SlotPool? Best(PendingJob job, WaitingLine ahead) => Open(job, ahead)
        .SelectMany(size => Candidates(job, size.Key, size.Value))
        // A job that takes all it can get (max 0) is better off on an idle worker than on the rest of a busy one.
        .OrderByDescending(p => job.MaxRanks == 0 && p.Free.Count == p.Total)
        .ThenByDescending(p => p.Kind == DeviceKind.Cuda)
        .ThenByDescending(p => p.WorldSize(job))
        .ThenBy(p => p.Free.Count)
        .ThenBy(p => p.Worker.Id, StringComparer.Ordinal)
        .FirstOrDefault();

    /// <summary>Of those that the line ahead leaves open, the one with the most free slots; null: it leaves none.</summary>
    public SlotPool? MostFree(PendingJob job, WaitingLine ahead) => Open(job, ahead).Select(size => size.Value.Last().Value.Min!).MaxBy(p => p.Free.Count);

    /// <summary>Whether two jobs could use the slots of one worker.</summary>
    public bool Share(PendingJob one, PendingJob other) =>
        _kinds.Any(k => Fits(one.Device, k.Key) && Fits(other.Device, k.Key) && k.Value.Keys.Last() >= Math.Max(one.MinRanks, other.MinRanks));

    /// <summary>Those with slots that cannot be used; of the job's device when there are any workers with it.</summary>
    public IReadOnlyList<SlotPool> Broken(DeviceKind device)
    {
        var isThere = _kinds.Keys.Any(k => Fits(device, k));
        return [.. _broken.Where(p => !isThere || Fits(device, p.Kind))];
    }

    private IEnumerable<KeyValuePair<int, SortedDictionary<int, SortedSet<SlotPool>>>> Open(PendingJob job, WaitingLine ahead) => _kinds
        .Where(k => Fits(job.Device, k.Key))
        .SelectMany(k => k.Value.SkipWhile(size => size.Key < job.MinRanks).TakeWhile(size => size.Key < ahead.ReservedFrom(k.Key)));

    // Of one size: an idle worker, the fullest that has all the job takes, and the one with the most free.
    private static IEnumerable<SlotPool> Candidates(PendingJob job, int total, SortedDictionary<int, SortedSet<SlotPool>> byFree)
    {
        if (byFree.TryGetValue(total, out var idle))
            yield return idle.Min!;
        SortedSet<SlotPool>? enough = null, most = null;
        foreach (var (free, pools) in byFree.SkipWhile(f => f.Key < job.MinRanks))
        {
            most = pools;
            if (free >= job.MaxRanks)
                enough ??= pools;
        }

        if (enough is not null)
            yield return enough.Min!;
        if (most is not null)
            yield return most.Min!;
    }

    private static bool Fits(DeviceKind asked, DeviceKind kind) => asked == DeviceKind.Any || asked == kind;

    private static TValue Entry<TKey, TValue>(SortedDictionary<TKey, TValue> map, TKey key, Func<TValue> make) where TKey : notnull
    {
        if (!map.TryGetValue(key, out var value))
            map.Add(key, value = make());
        return value;
    }
}

/// <summary>The slots of one kind on one worker.</summary>
/// <param name="Worker">The worker.</param>
/// <param name="Kind">Which kind of device.</param>
/// <param name="Free">What a placement may name, in order.</param>
/// <param name="Total">How many can be used, free or not.</param>
/// <param name="Faults">Why the others cannot.</param>
/// <param name="Held">How many are held by attempts that were given up and whose end the worker has not told.</param>
internal sealed record SlotPool(WorkerCapacity Worker, DeviceKind Kind, IReadOnlyList<int> Free, int Total, IReadOnlyList<string> Faults, int Held)
{
    public static IReadOnlyList<SlotPool> Of(WorkerCapacity worker) => [.. worker.Slots.GroupBy(s => s.Kind).Select(g => new SlotPool(
        worker,
        g.Key,
        [.. g.Where(s => s is { IsFree: true, Fault: "" }).Select(s => s.Index).Order()],
        g.Count(s => s.Fault.Length == 0),
        [.. g.Select(s => s.Fault).Where(f => f.Length > 0)],
        g.Count(s => s.IsHeld)))];

    /// <summary>How many ranks the job would have here.</summary>
    public int WorldSize(PendingJob job) => job.MaxRanks == 0 ? Free.Count : Math.Min(job.MaxRanks, Free.Count);
}
