namespace Microsoft.ML.Distributed;

/// <summary>How to reach a coordinator.</summary>
public sealed class TrainingClusterOptions
{
    /// <summary>The key that the coordinator's administrator gave out. Not needed over a Unix socket.</summary>
    /// <value>None.</value>
    public string? ApiKey { get; init; }

    /// <summary>SHA-256 of the coordinator's certificate in hexadecimal digits, as it prints it: needed when the certificate is self-signed.</summary>
    /// <value>None: the certificate must be one that this machine trusts.</value>
    public string? CertificateFingerprint { get; init; }

    /// <summary>How long to try to reach the coordinator before the data is encoded.</summary>
    /// <value>10 s.</value>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>How long a coordinator that was reached once may be away, during an upload or a training, before <c>Fit</c> gives up.</summary>
    /// <value>60 s.</value>
    public TimeSpan ReconnectTimeout { get; init; } = TimeSpan.FromSeconds(60);

    internal TimeProvider Time { get; init; } = TimeProvider.System;

    internal void Validate()
    {
        var errors = new List<string>();
        if (ConnectTimeout <= TimeSpan.Zero)
            errors.Add($"ConnectTimeout is {ConnectTimeout}, expected more than zero.");
        if (ReconnectTimeout < TimeSpan.Zero)
            errors.Add($"ReconnectTimeout is {ReconnectTimeout}, expected zero or more.");
        if (errors.Count > 0)
            throw new ArgumentException(string.Join(" ", errors));
    }
}
