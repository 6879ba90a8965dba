using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a failed call means to the user, in a sentence with a remedy.</summary>
internal static class ClusterErrors
{
    /// <summary>Whether the same call may succeed when it is made again: the connection broke, the coordinator restarts, or has no room for it now.</summary>
    public static bool IsTransient(RpcException e) => e.StatusCode switch
    {
        StatusCode.Unavailable => !ConnectionFailure.IsUntrustedCertificate(e),
        StatusCode.DeadlineExceeded or StatusCode.Aborted or StatusCode.Cancelled => true,
        StatusCode.ResourceExhausted => Pushback.Of(e) is not null,
        StatusCode.Internal or StatusCode.Unknown => e.Status.DebugException is IOException or HttpRequestException && !ConnectionFailure.IsUntrustedCertificate(e) && !ConnectionFailure.IsTlsMismatch(e),
        _ => false,
    };

    public static Exception Translate(RpcException e, Uri address) => TranslateVisible(ConnectionFailure.Visible(e), address);

    public static ClusterException OtherProtocol(Uri address, string said, Exception? inner = null) => new(
        $"Coordinator {address} and this app do not speak the same protocol: {said} This library speaks version {ProtocolVersion.Current}; use the release of Microsoft.ML.Distributed that belongs to the coordinator.", inner);

    /// <summary>The time for further attempts is over.</summary>
    public static Exception GaveUp(Uri address, Backoff backoff, RpcException last) =>
        IsTransient(last) && Pushback.Of(last) is null ? NotThere(address, backoff, last) : Translate(last, address);

    private static ClusterException NotThere(Uri address, Backoff backoff, RpcException last) => new(
        $"Coordinator {address} does not answer: tried {backoff.Attempts} times in {backoff.Spent.TotalSeconds:0.0} s, the last time it was \"{ConnectionFailure.Describe(last)}\"{ConnectionFailure.SchemeHint(last, address)} " +
        $"Check that it runs (`mldist coordinator`){(address.Scheme == "unix" ? " and the path" : ", the address, and that no firewall is between")}; with {ClusterVariables.Coordinator} unset and no cluster given, Fit trains on this machine.",
        ConnectionFailure.Visible(last));

    public static ClusterException JobLost(Uri address, string jobId, TimeSpan spent, RpcException? last) => new(
        $"Coordinator {address} was lost for {spent.TotalSeconds:0} s while job {jobId} ran{(last is null ? "." : $": {ConnectionFailure.Describe(last)}")} " +
        $"The job may still run: `mldist watch {jobId}` shows it once the coordinator is back.",
        last is null ? null : ConnectionFailure.Visible(last))
    { JobId = jobId };

    private static Exception TranslateVisible(RpcException e, Uri address) => e.StatusCode switch
    {
        StatusCode.Unauthenticated => new ClusterException(
            $"Coordinator {address} does not accept the API key: {ConnectionFailure.Describe(e)} Pass a key of this coordinator to TrainingCluster.Connect, or set {ClusterVariables.ApiKey}.", e),
        StatusCode.PermissionDenied => new ClusterException(
            $"Coordinator {address} does not allow this: {ConnectionFailure.Describe(e)}", e),
        StatusCode.NotFound => new ClusterException($"Coordinator {address} does not have it: {ConnectionFailure.Describe(e)}", e),
        StatusCode.FailedPrecondition => new ClusterException($"Coordinator {address} refuses the call: {ConnectionFailure.Describe(e)}", e),
        StatusCode.Unimplemented => new ClusterException(
            $"The server at {address} is no coordinator, or one of another release: {ConnectionFailure.Describe(e)} Check the address and that both are of one release.", e),
        StatusCode.InvalidArgument => new ArgumentException($"Coordinator {address} does not accept this: {ConnectionFailure.Describe(e)}", e),
        _ when ConnectionFailure.IsUntrustedCertificate(e) => new ClusterException(
            $"The certificate of coordinator {address} is not trusted here, expected one that this machine trusts or that has the given fingerprint. " +
            $"Set {nameof(TrainingClusterOptions)}.{nameof(TrainingClusterOptions.CertificateFingerprint)}, or {ClusterVariables.Fingerprint}, to the fingerprint that the coordinator prints when it starts.", e),
        _ when ConnectionFailure.SchemeHint(e, address) is { Length: > 0 } hint => new ClusterException(
            $"Coordinator {address} cannot be spoken with: {ConnectionFailure.Describe(e)}{hint}", e),
        StatusCode.ResourceExhausted when Pushback.Of(e) is not null => new ClusterException($"Coordinator {address} has no room for the call: {ConnectionFailure.Describe(e)}", e),
        StatusCode.DataLoss => new ClusterException($"Coordinator {address} says that data is damaged: {ConnectionFailure.Describe(e)}", e),
        _ => new ClusterException($"Coordinator {address} failed with {e.StatusCode}: {ConnectionFailure.Describe(e)} Look at the coordinator's log.", e),
    };
}
