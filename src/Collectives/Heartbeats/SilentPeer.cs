namespace MLDistributed.Collectives.Heartbeats;

/// <summary>A rank that was not heard for long.</summary>
/// <param name="Rank">Which one, of those that listen to one another.</param>
/// <param name="Silence">For how long.</param>
/// <param name="Address">Where it is expected to be, as "10.1.0.2:7300".</param>
public sealed record SilentPeer(int Rank, TimeSpan Silence, string Address)
{
    /// <summary>Whether it takes no connection there (TCP); else it sends no heartbeats from there (UDP).</summary>
    /// <value>false</value>
    public bool IsConnection { get; init; }
}
