using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Membership;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>An attempt of a job: a part on each of its workers, that begin together and end together.</summary>
internal sealed class AttemptEntry
{
    private readonly List<AttemptPart> _parts = [];
    private readonly Dictionary<int, Unheard> _unheard = [];
    private Weight _weight;

    // Whose failure it is that ends it: one that was stopped, one whom others do not hear, one that failed.
    private enum Weight { Bystander, Silence, Own }

    public required OpaqueId Id { get; init; }
    /// <summary>Null: only a worker knows of it.</summary>
    public required OpaqueId? JobId { get; init; }

    public required int Number { get; init; }
    public required DateTimeOffset Started { get; init; }

    /// <summary>In the order of the ranks. Of an attempt that the database had, those that had not ended.</summary>
    public IReadOnlyList<AttemptPart> Parts => _parts;

    /// <summary>Those that hold their slots for a job that wants them.</summary>
    public IEnumerable<AttemptPart> Living => _parts.Where(p => p is { HasEnded: false, GivenUpFor: null });

    public int WorldSize => _parts.Sum(p => p.Slots.Count);

    /// <summary>The one with rank 0, which tells of the training and has its results; null: it has ended.</summary>
    public AttemptPart? First => _parts.Find(p => p.IsFirst);

    /// <summary>Whether the workers, of which all are ready, were told to begin.</summary>
    public bool HasBegun { get; set; }

    /// <summary>Where the first ranks of its workers meet.</summary>
    public Rendezvous Rendezvous { get; } = new();

    /// <summary>What ends it, as far as is known: the first failure, but of a bystander only while nobody else has failed.</summary>
    public JobFailure? Failure { get; private set; }

    /// <summary>The newest state that its workers have said to have in memory.</summary>
    public long KeptStep { get; private set; }

    /// <summary>What that says of a worker; null: nothing.</summary>
    public Blame? Blame { get; private set; }

    /// <summary>The worker that the network has lost, where that is the failure.</summary>
    public LostHost? Lost { get; private set; }

    /// <summary>When its workers are waited for no longer; null: nothing has failed.</summary>
    public TimeSpan? EndsBy { get; set; }

    /// <summary>Whether it was given up because its worker was silent: that was never told to stop it, and may come back with it.</summary>
    public bool MayComeBack { get; set; }

    public AttemptPart Add(WorkerEntry worker, IReadOnlyList<int> slots, int firstRank)
    {
        var part = new AttemptPart(this, worker, slots, firstRank);
        _parts.Add(part);
        return part;
    }

    /// <summary>A part that only its worker knows of: no slot there is free.</summary>
    public AttemptPart AddForeign(WorkerEntry worker)
    {
        var part = new AttemptPart(this, worker, [], 0) { IsForeign = true };
        _parts.Add(part);
        return part;
    }

    /// <summary>A worker has the state of a step in memory.</summary>
    public void Keep(long step) => KeptStep = Math.Max(KeptStep, step);

    /// <summary>It is wanted again.</summary>
    public void Forget()
    {
        (Failure, Blame, Lost, EndsBy) = (null, null, null, null);
        _unheard.Clear();
    }

    /// <summary>Takes a failure for what ends the attempt, unless a better one is known.</summary>
    /// <param name="failure">What failed.</param>
    /// <param name="blame">What it says of a worker; null: nothing.</param>
    /// <param name="isBystander">Whether another's failure has stopped it.</param>
    public void Note(JobFailure failure, Blame? blame, bool isBystander)
    {
        var weight = isBystander ? Weight.Bystander : Weight.Own;
        if (Failure is not null && weight <= _weight)
            return;
        (Failure, Blame, Lost, _weight) = (failure, blame, null, weight);
    }

    /// <summary>Takes in whom a worker does not hear on the network of the ranks.</summary>
    public void Hear(AttemptPart by, Unheard told) => _unheard[_parts.IndexOf(by)] = told;

    /// <summary>Takes for the failure what workers said of one another, unless one has failed by itself.</summary>
    /// <param name="earlier">With how many other workers than these one of them was in a tie before.</param>
    /// <returns>Whether it is the failure now.</returns>
    public bool Judge(Func<WorkerEntry, int> earlier)
    {
        var told = _unheard.SelectMany(u => u.Value.Workers.Where(w => w.Participant < _parts.Count && w.Participant != u.Key).DistinctBy(w => w.Participant)
            .Select(w => new Silence(u.Key, w.Participant, w.Seconds is > 0 and < 86400 ? TimeSpan.FromSeconds(w.Seconds) : TimeSpan.Zero, w.Address) { IsConnection = w.IsConnection })).ToList();
        if ((Failure is not null && _weight == Weight.Own) || SilenceRules.Decide([.. Participants().Select(p => p.Host)], told, _parts.All(p => p.HasStarted), [.. _parts.Select(p => earlier(p.Worker))]) is not { } lost)
            return false;
        var part = _parts[lost.Host];
        var isTie = lost.Ties.Count > 0;
        (Failure, Lost, _weight) = (new JobFailure { Kind = FailureKind.WorkerLost, Rank = -1, Host = isTie ? "" : part.Worker.Host, Message = lost.Reason }, lost, Weight.Silence);
        Blame = isTie ? null : new Blame(part, OutcomeKind.Lost);
        return true;
    }

    /// <summary>Its workers by names of which each is another: two machines may have the same.</summary>
    public IEnumerable<Participant> Participants()
    {
        var names = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var part in _parts)
        {
            var count = names[part.Worker.Host] = names.GetValueOrDefault(part.Worker.Host) + 1;
            yield return new Participant { Host = count == 1 ? part.Worker.Host : $"{part.Worker.Host} ({count})", Ranks = part.Slots.Count };
        }
    }

    /// <summary>As in: "box" with 2 ranks and "other" with 1 rank.</summary>
    public string Where() => Words.Join(_parts.Select(p => $"\"{p.Worker.Host}\" with {Words.Ranks(p.Slots.Count)}"));
}

/// <summary>What a failure says of a worker.</summary>
/// <param name="Part">What the worker has of the attempt.</param>
/// <param name="Kind">How that ended.</param>
internal sealed record Blame(AttemptPart Part, OutcomeKind Kind);
