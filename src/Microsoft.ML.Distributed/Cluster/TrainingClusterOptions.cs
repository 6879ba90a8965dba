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

    /// <summary>How long a coordinator that was reached once may be away, during an upload or a training, before <c>Fit</c> gives up; also how long it may leave a call without an answer, or an upload or a download where it is. Time in which this process was stopped does not count.</summary>
    /// <value>60 s.</value>
    public TimeSpan ReconnectTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a stream that ought to get on may stand still before it is taken for lost.</summary>
    internal TimeSpan SilenceLimit => ReconnectTimeout > ConnectTimeout ? ReconnectTimeout : ConnectTimeout;

    /// <summary>How long a job may tell nothing before the coordinator is asked whether it is there: one that waits has nothing to tell, one that trains tells several times a second.</summary>
    internal TimeSpan Quiet { get; init; } = TimeSpan.FromSeconds(30);

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
