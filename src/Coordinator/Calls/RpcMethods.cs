using System.Collections.Frozen;
using Google.Protobuf.Reflection;
using Grpc.Health.V1;
using MLDistributed.Coordinator.Flight;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Calls;

/// <summary>The calls of this service and what each may carry. New ones of these files are among them by themselves.</summary>
internal static class RpcMethods
{
    private static readonly FrozenSet<string> s_large = new[]
    {
        "/mldist.v1.Jobs/SubmitJob", "/mldist.v1.Workers/Connect", "/mldist.v1.Blobs/Upload", "/arrow.flight.protocol.FlightService/DoPut",
    }.ToFrozenSet(StringComparer.Ordinal);

    /// <summary>By path, as "/package.Service/Method".</summary>
    public static FrozenDictionary<string, MethodDescriptor> All { get; } =
        new[] { JobsReflection.Descriptor, BlobsReflection.Descriptor, WorkersReflection.Descriptor, FlightReflection.Descriptor, HealthReflection.Descriptor }
            .SelectMany(file => file.Services).SelectMany(service => service.Methods)
            .ToFrozenDictionary(method => $"/{method.Service.FullName}/{method.Name}", StringComparer.Ordinal);

    /// <summary>The most bytes of one of its messages.</summary>
    public static int MaxMessageBytes(string path) => s_large.Contains(path) ? WireLimits.MaxLargeMessageBytes : WireLimits.MaxMessageBytes;

    /// <summary>How long its stream may say nothing between two messages; null: as long as its other side is there.</summary>
    public static TimeSpan? MaxPause(string path) => path == "/mldist.v1.Workers/Connect" ? null : TimeSpan.FromMinutes(2);
}
