using Grpc.Core;

namespace MLDistributed.Coordinator.Security;

/// <summary>Whether jobs may bring code of their own.</summary>
internal static class UserCode
{
    /// <exception cref="RpcException">This coordinator denies it.</exception>
    public static void Require(CoordinatorOptions options)
    {
        if (!options.AllowUserCode)
            throw new RpcException(new Status(StatusCode.PermissionDenied, "The job brings a module of its own, code that would run on the workers, expected a job without: this coordinator denies user code. Ask its administrator to start it with \"--user-code allow\", or train the module on a local cluster."));
    }
}
