using Grpc.Core;
using MLDistributed.Protocol;
using MLDistributed.Worker;

namespace MLDistributed.Cli;

/// <summary>What becomes of exceptions: one sentence on standard error and an exit code.</summary>
internal static class CliErrors
{
    public static (string Message, int Code) Explain(Exception e) => e switch
    {
        CliException cli => (cli.Message, cli.Code),
        AgentException agent => (agent.Message, ExitCode.Failure),
        OperationCanceledException => ("Interrupted.", ExitCode.Interrupted),
        ArgumentException or IOException or UnauthorizedAccessException or InvalidOperationException => (e.Message, ExitCode.Failure),
        _ => ($"{e.GetType().Name}: {e.Message} This is a defect of MLDistributed: report it with this line.", ExitCode.Failure),
    };

    /// <summary>The exit code of a failed call to a coordinator. What has an exception beneath failed on this side of the wire.</summary>
    public static int CodeOf(RpcException e) => e.StatusCode switch
    {
        StatusCode.NotFound => ExitCode.NotFound,
        StatusCode.Unavailable or StatusCode.DeadlineExceeded or StatusCode.Unauthenticated or StatusCode.PermissionDenied => ExitCode.NoAccess,
        StatusCode.Unimplemented or StatusCode.FailedPrecondition => ExitCode.NoAccess, // another release
        StatusCode.Cancelled => ExitCode.NoAccess, // by the other side: our own end is no failed call
        _ => e.Status.DebugException is null ? ExitCode.Failure : ExitCode.NoAccess,
    };

    /// <summary>What a failed call to a coordinator means.</summary>
    public static string Explain(RpcException e, Uri coordinator) => e.StatusCode switch
    {
        _ when ConnectionFailure.IsUntrustedCertificate(e) =>
            $"The certificate of coordinator \"{coordinator}\" is not trusted, expected one that this machine trusts or that has the given fingerprint. Set --fingerprint or {ClusterVariables.Fingerprint} to the one that the coordinator prints when it starts.",
        StatusCode.Unavailable =>
            $"Coordinator \"{coordinator}\" does not answer: {ConnectionFailure.Describe(e)}{ConnectionFailure.SchemeHint(e, coordinator)} Check --coordinator or {ClusterVariables.Coordinator}, and that it runs.",
        StatusCode.DeadlineExceeded =>
            $"Coordinator \"{coordinator}\" does not answer: {ConnectionFailure.Describe(e)} Check --coordinator or {ClusterVariables.Coordinator}, and the coordinator's log; --timeout waits longer.",
        StatusCode.Unauthenticated =>
            $"Coordinator \"{coordinator}\" does not accept the key: {ConnectionFailure.Describe(e)} Check --api-key or {ClusterVariables.ApiKey}.",
        StatusCode.PermissionDenied => $"Coordinator \"{coordinator}\" does not allow this: {ConnectionFailure.Describe(e)}",
        StatusCode.Unimplemented => $"The server at \"{coordinator}\" is no coordinator, or one of another release: {ConnectionFailure.Describe(e)} Check the address and that both are of one release.",
        StatusCode.Internal or StatusCode.Unknown or StatusCode.Cancelled => $"Coordinator \"{coordinator}\" failed: {ConnectionFailure.Describe(e)}{ConnectionFailure.SchemeHint(e, coordinator)} Check the address, and look at the coordinator's log.",
        _ => ConnectionFailure.Describe(e),
    };
}
