using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Devices;

/// <summary>The device that a rank was given, as libtorch's.</summary>
internal static class RankDevice
{
    /// <exception cref="TrainingException">It is not there.</exception>
    public static Device Of(RankStart start)
    {
        if (start.Device != DeviceKind.Cuda)
            return CPU;
        var count = cuda.is_available() ? cuda.device_count() : 0;
        // Made after the check: without a CUDA build, naming the device already throws.
        return start.DeviceIndex < count ? device(DeviceType.CUDA, start.DeviceIndex) : throw new TrainingException(new JobFailure
        {
            Kind = FailureKind.Invalid,
            Rank = start.Rank,
            Message = $"Device \"cuda:{start.DeviceIndex}\" is not there: libtorch sees {count} CUDA devices, expected at least {start.DeviceIndex + 1}. " +
                (NativeLoading.CudaFailure is { } reason ? $"Its CUDA part could not be loaded: {reason}" : $"Check the driver, and that libtorch is a CUDA build: that of -p:TorchBackend=cuda, or one that {LibtorchFolder.Variable} names."),
        });
    }
}
