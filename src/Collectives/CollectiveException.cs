namespace MLDistributed.Collectives;

/// <summary>The ranks cannot go on together.</summary>
public class CollectiveException : Exception
{
    /// <summary>Says why.</summary>
    public CollectiveException(string message, Exception? inner = null) : base(message, inner) { }
}

/// <summary>The network between ranks failed, as far as its library says so.</summary>
/// <param name="message">What failed.</param>
public sealed class CollectiveNetworkException(string message) : CollectiveException(message);

/// <summary>This host's own network lets its rank meet no others: an interface, its address, or its ports.</summary>
/// <param name="message">What of it.</param>
public sealed class HostNetworkException(string message) : CollectiveException(message);

/// <summary>A rank has aborted: this rank is a bystander.</summary>
/// <param name="message">Which rank.</param>
public sealed class CollectiveAbortedException(string message) : CollectiveException(message);

/// <summary>A rank did not come in time.</summary>
/// <param name="message">Which ranks, and how long they were waited for.</param>
public sealed class CollectiveTimeoutException(string message) : CollectiveException(message);

/// <summary>The ranks do not do the same thing.</summary>
/// <param name="message">Which ranks, and what each does.</param>
public sealed class CollectiveMismatchException(string message) : CollectiveException(message);
