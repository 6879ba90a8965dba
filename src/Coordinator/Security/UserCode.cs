using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Security;

/// <summary>Whether jobs may bring code of their own.</summary>
internal static class UserCode
{
    /// <exception cref="RpcException">This coordinator denies it.</exception>
    public static void Require(CoordinatorOptions options)
    {
        if (!options.AllowUserCode)
            throw new RpcException(new Status(StatusCode.PermissionDenied, CodePackage.Denied));
    }
}
