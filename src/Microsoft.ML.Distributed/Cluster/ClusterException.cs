namespace Microsoft.ML.Distributed;

/// <summary>A cluster cannot be reached, refuses the caller, or cannot be started. The message says what to do.</summary>
public sealed class ClusterException : Exception
{
    /// <summary>Makes an exception with a message.</summary>
    public ClusterException(string message, Exception? innerException = null)
        : base(message, innerException)
    {
    }

    /// <summary>The job that was in work, which may still run; null when there was none.</summary>
    public string? JobId { get; init; }
}
