using MLDistributed.Coordinator.Metrics;

namespace MLDistributed.Coordinator.Security;

/// <summary>Which scopes open which calls.</summary>
internal static class AccessRules
{
    private const Scopes Readers = Scopes.Read | Scopes.Submit | Scopes.Admin;
    private const Scopes Submitters = Scopes.Submit | Scopes.Admin;

    /// <summary>The scopes of which one is needed; <see cref="Scopes.None"/>: open to all.</summary>
    /// <param name="method">A gRPC method as "/package.Service/Method", or the path of the metrics.</param>
    public static Scopes Required(string method) => method switch
    {
        "/mldist.v1.Workers/Join" => Scopes.None, // the token is checked by the call itself
        "/mldist.v1.Workers/Connect" => Scopes.Worker,
        "/mldist.v1.Blobs/Upload" => Submitters | Scopes.Worker,
        "/mldist.v1.Blobs/Download" => Readers | Scopes.Worker,
        "/mldist.v1.Jobs/SubmitJob" or "/mldist.v1.Jobs/ResumeJob" or "/mldist.v1.Jobs/CancelJob" => Submitters,
        "/mldist.v1.Datasets/AdoptDataset" => Submitters,
        "/arrow.flight.protocol.FlightService/DoPut" => Submitters,
        MetricsEndpoint.Path => Scopes.Metrics | Scopes.Admin,
        _ when method.StartsWith("/mldist.v1.Jobs/", StringComparison.Ordinal) => Readers,
        _ when method.StartsWith("/mldist.v1.Datasets/", StringComparison.Ordinal) => Readers,
        _ => Scopes.Admin,
    };

    /// <summary>Calls that need neither key nor protocol version. Not the health's stream: strangers would leave it open.</summary>
    public static bool IsOpen(string method) => method == "/grpc.health.v1.Health/Check";
}
