using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The cluster that the environment names, for an app that names none.</summary>
internal static class ClusterEnvironment
{
    public const string Runtime = "MLDIST_RUNTIME";

    /// <summary>Where the environment says the coordinator is, and how to reach it; null when it says nothing.</summary>
    /// <exception cref="ClusterException">It says something that is no address, key or fingerprint.</exception>
    public static (Uri Address, TrainingClusterOptions Options)? Read(Func<string, string?> variable)
    {
        if (variable(ClusterVariables.Coordinator) is not { Length: > 0 } text)
            return null;
        if (!Uri.TryCreate(text, UriKind.Absolute, out var address) || address.Scheme is not ("https" or "http" or "unix"))
            throw new ClusterException($"{ClusterVariables.Coordinator} is \"{text}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port. Correct it, or unset it to train on this machine.");
        return (address, new TrainingClusterOptions { ApiKey = variable(ClusterVariables.ApiKey), CertificateFingerprint = variable(ClusterVariables.Fingerprint) });
    }
}
