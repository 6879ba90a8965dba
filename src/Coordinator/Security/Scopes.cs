namespace MLDistributed.Coordinator;

/// <summary>What a key may do.</summary>
[Flags]
public enum Scopes
{
    /// <summary>Nothing.</summary>
    None = 0,

    /// <summary>See the cluster, its jobs and their models.</summary>
    Read = 1,

    /// <summary>Send data, run and cancel jobs; includes seeing one's own.</summary>
    Submit = 2,

    /// <summary>All jobs of all tenants.</summary>
    Admin = 4,

    /// <summary>Run jobs: the scope of a worker's credential, which no API key can have.</summary>
    Worker = 8,

    /// <summary>Read the cluster's metrics, numbers over all tenants, and nothing else.</summary>
    Metrics = 16,
}
