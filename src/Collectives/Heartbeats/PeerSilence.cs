namespace MLDistributed.Collectives.Heartbeats;

/// <summary>For how long each of some ranks was not heard; knows no clock.</summary>
internal sealed class PeerSilence(int count, int self)
{
    // Whoever listens this seldom stood still himself, and cannot say that others did.
    public static readonly TimeSpan LongestLook = TimeSpan.FromSeconds(0.5);

    private readonly TimeSpan[] _silences = new TimeSpan[count];
    private readonly bool[] _heard = new bool[count];
    private readonly bool[] _left = new bool[count];

    /// <summary>Whether every other rank was heard once.</summary>
    public bool HasMet { get; private set; } = count == 1;

    /// <summary>The longest silence of all others that have not left.</summary>
    public TimeSpan Longest
    {
        get
        {
            var longest = TimeSpan.Zero;
            for (var peer = 0; peer < count; peer++)
                if (IsAwaited(peer) && _silences[peer] > longest)
                    longest = _silences[peer];
            return longest;
        }
    }

    /// <summary>Time has passed since the last look; what came meanwhile is told after.</summary>
    public void Pass(TimeSpan time)
    {
        for (var peer = 0; peer < count; peer++)
            _silences[peer] += time < LongestLook ? time : LongestLook;
    }

    public void Hear(int peer)
    {
        _silences[peer] = TimeSpan.Zero;
        _heard[peer] = true;
        if (HasMet)
            return;
        HasMet = true;
        for (var other = 0; other < count; other++)
            HasMet &= other == self || _heard[other];
    }

    /// <summary>A rank has done its part: it says nothing any more.</summary>
    public void Leave(int peer) => _left[peer] = true;

    /// <summary>The ranks that were not heard for so long, and for how long.</summary>
    public IEnumerable<(int Rank, TimeSpan Silence)> Since(TimeSpan limit)
    {
        for (var peer = 0; peer < count; peer++)
            if (IsAwaited(peer) && _silences[peer] >= limit)
                yield return (peer, _silences[peer]);
    }

    private bool IsAwaited(int peer) => peer != self && !_left[peer];
}
