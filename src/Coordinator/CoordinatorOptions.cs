namespace MLDistributed.Coordinator;

/// <summary>How a coordinator listens and where it keeps its state.</summary>
public sealed class CoordinatorOptions
{
    /// <summary>Folder of the database and the blob store. Made when missing.</summary>
    public required string DataFolder { get; init; }

    /// <summary>A Unix socket to listen on, without keys: for a local cluster, in a folder of mode 0700. Null: none.</summary>
    public string? SocketPath { get; init; }

    /// <summary>Addresses to listen on, as "https://host:port" or "http://host:port" (port 0: any). May be empty when a socket is given.</summary>
    public IReadOnlyList<string> Urls { get; init; } = [];

    /// <summary>PFX or PEM certificate for https. Null: a self-signed one is made in the data folder and its fingerprint printed.</summary>
    public string? CertificatePath { get; init; }

    /// <summary>The key of a PEM certificate, when in a file of its own.</summary>
    public string? CertificateKeyPath { get; init; }

    /// <summary>A worker that was silent for this long is lost.</summary>
    /// <value>5 s.</value>
    public TimeSpan HeartbeatTimeout { get; init; } = TimeSpan.FromSeconds(5);
}
