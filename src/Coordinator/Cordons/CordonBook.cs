namespace MLDistributed.Coordinator.Cordons;

/// <summary>The workers that jobs are kept away from, and what the decisions about it rest on; used on the event loop only.</summary>
internal sealed class CordonBook(CoordinatorOptions options)
{
    private const int MostRemembered = 10_000; // as many attempts as end in the window on a large cluster
    private readonly Dictionary<string, Cordon> _cordons = new(StringComparer.Ordinal);
    private readonly Dictionary<string, int> _earlier = new(StringComparer.Ordinal); // cordons since an attempt ended well there
    private readonly List<AttemptOutcome> _history = []; // the oldest first

    /// <summary>Whether an operator keeps jobs away from a worker.</summary>
    public bool HasAnyByHand => _cordons.Values.Any(c => c.IsByHand);

    public Cordon? Find(string workerId) => _cordons.GetValueOrDefault(workerId);

    /// <summary>Takes in how an attempt ended on a worker.</summary>
    /// <returns>The workers whose cordon this changed.</returns>
    public IReadOnlyList<string> Note(AttemptOutcome outcome)
    {
        if (options.CordonFailures == 0 || options.IsLocalOnly) // there nobody else will come
            return [];
        _history.Add(outcome);
        if (_history.Count > MostRemembered) // half at a time, so that the rest is not moved for each
            _history.RemoveRange(0, MostRemembered / 2);
        if (outcome.Kind == OutcomeKind.Well)
        {
            _earlier.Remove(outcome.WorkerId);
            return [];
        }

        var changed = _cordons.Where(c => CordonRules.IsExplained(c.Key, c.Value, _history)).Select(c => c.Key).ToList();
        foreach (var worker in changed)
            Lift(worker);
        var earlier = _earlier.GetValueOrDefault(outcome.WorkerId);
        if (!_cordons.ContainsKey(outcome.WorkerId) && CordonRules.Decide(outcome.Time, outcome.WorkerId, _history, earlier, options) is { } cordon)
        {
            _cordons.Add(outcome.WorkerId, cordon);
            _earlier[outcome.WorkerId] = earlier + 1;
            changed.Add(outcome.WorkerId);
        }

        return changed;
    }

    /// <summary>Ends the cordons whose time is over, and returns their workers.</summary>
    public IReadOnlyList<string> Expire(TimeSpan now)
    {
        var ended = _cordons.Where(c => c.Value.Until <= now).Select(c => c.Key).ToList();
        ended.ForEach(w => _cordons.Remove(w));
        return ended;
    }

    /// <summary>An operator keeps jobs away.</summary>
    public void Put(string workerId, string reason) => _cordons[workerId] = new Cordon(reason, Until: null, []);

    /// <summary>An operator lets jobs in again: what has failed there before counts no more.</summary>
    /// <returns>Whether there was a cordon.</returns>
    public bool Remove(string workerId)
    {
        _history.RemoveAll(o => o.WorkerId == workerId);
        return Lift(workerId);
    }

    private bool Lift(string workerId)
    {
        _earlier.Remove(workerId);
        return _cordons.Remove(workerId);
    }
}
