using MLDistributed.Collectives.Nccl;
using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;

namespace MLDistributed.Training.Devices;

/// <summary>What joins the devices of several ranks.</summary>
/// <param name="Cuda">CUDA's runtime, for a stream beside libtorch's.</param>
/// <param name="Nccl">Sums from device to device.</param>
internal sealed record DeviceLink(ICudaRuntime Cuda, NcclLibrary Nccl)
{
    /// <summary>Loads both; null where one is missing.</summary>
    /// <param name="cuda">Loads CUDA's runtime.</param>
    /// <param name="nccl">Loads NCCL.</param>
    /// <param name="missing">Why it is missing, without a full stop.</param>
    public static DeviceLink? TryLoad(Func<ICudaRuntime> cuda, Func<NcclLibrary> nccl, out string missing)
    {
        missing = "";
        try
        {
            return new DeviceLink(cuda(), nccl());
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            missing = e.Message.ReplaceLineEndings(" ").Trim().TrimEnd('.');
            return null;
        }
    }

    /// <summary>The NCCL of this machine, or of its libtorch.</summary>
    public static NcclLibrary LoadNccl() => NcclLibrary.Load(Folders());

    // Beside libtorch, or where PyTorch's wheels have it, beside torch's own folder.
    private static IEnumerable<string> Folders() =>
        LibtorchFolder.Find() is { } libtorch ? [libtorch, Path.Combine(libtorch, "..", "..", "nvidia", "nccl", "lib")] : [];
}
