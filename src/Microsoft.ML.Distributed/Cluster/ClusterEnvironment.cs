namespace Microsoft.ML.Distributed;

/// <summary>The environment variables that choose a cluster for an app that names none.</summary>
internal static class ClusterEnvironment
{
    public const string Coordinator = "MLDIST_COORDINATOR";
    public const string ApiKey = "MLDIST_API_KEY";
    public const string Runtime = "MLDIST_RUNTIME";

    /// <summary>Where the environment says the coordinator is; null when it says nothing.</summary>
    /// <exception cref="ClusterException">It says something that is no address.</exception>
    public static (Uri Address, string? Key)? Read(Func<string, string?> variable)
    {
        if (variable(Coordinator) is not { Length: > 0 } text)
            return null;
        if (!Uri.TryCreate(text.Trim(), UriKind.Absolute, out var address) || address.Scheme is not ("https" or "http" or "unix"))
            throw new ClusterException($"{Coordinator} is \"{text}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port. Correct it, or unset it to train on this machine.");
        return (address, variable(ApiKey) is { Length: > 0 } key ? key.Trim() : null);
    }
}
