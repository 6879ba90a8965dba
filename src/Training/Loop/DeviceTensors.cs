using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Loop;

/// <summary>
/// The flat parameters and gradients as tensors on the rank's device. On a CPU they are the shared memory itself. On a GPU
/// they are copies: gradients go to shared memory after backward, parameters come back after the update, both through
/// page-locked memory where <see cref="PinnedBuffers"/> could make it so.
/// </summary>
internal sealed class DeviceTensors : IDisposable
{
    private readonly Tensor _sharedParameters;
    private readonly Tensor _sharedGradients;

    private DeviceTensors(Tensor sharedParameters, Tensor sharedGradients, Device device)
    {
        (_sharedParameters, _sharedGradients) = (sharedParameters, sharedGradients);
        IsMirrored = device.type != DeviceType.CPU;
        Parameters = IsMirrored ? sharedParameters.to(device).DetachFromDisposeScope() : sharedParameters;
        Gradients = IsMirrored ? zeros_like(Parameters).DetachFromDisposeScope() : sharedGradients;
    }

    public Tensor Parameters { get; }

    public Tensor Gradients { get; }

    /// <summary>Whether these are copies on a device, and not the shared memory itself.</summary>
    public bool IsMirrored { get; }

    /// <exception cref="TrainingException">The device is not there.</exception>
    public static unsafe DeviceTensors Create(RankStart start, SharedSegment segment, long length)
    {
        if (start.Device == DeviceKind.Cuda && (!cuda.is_available() || start.DeviceIndex >= cuda.device_count()))
        {
            throw new TrainingException(new JobFailure
            {
                Kind = FailureKind.Invalid,
                Rank = start.Rank,
                Message = $"Device \"cuda:{start.DeviceIndex}\" is not there: libtorch sees {(cuda.is_available() ? cuda.device_count() : 0)} CUDA devices, expected at least {start.DeviceIndex + 1}. " +
                    "Check the driver, and that the worker was built with -p:TorchBackend=cuda.",
            });
        }

        // Made after the check: without a CUDA build, naming the device already throws.
        var device = start.Device == DeviceKind.Cuda ? torch.device(DeviceType.CUDA, start.DeviceIndex) : CPU;
        return new DeviceTensors(
            TorchMemory.Wrap(segment.Parameters, length).DetachFromDisposeScope(),
            TorchMemory.Wrap(segment.Gradients(segment.Rank), length).DetachFromDisposeScope(), device);
    }

    /// <summary>After backward of a step's last part: gradients to where the ranks meet.</summary>
    public void PushGradients()
    {
        if (!IsMirrored)
            return;
        using (no_grad())
        {
            _sharedGradients.copy_(Gradients);
            Gradients.zero_();
        }
    }

    /// <summary>After the update, and after the parameters were first filled: parameters to the device.</summary>
    public void PullParameters()
    {
        if (!IsMirrored)
            return;
        using var scope = NewDisposeScope();
        using (no_grad())
            Parameters.copy_(_sharedParameters);
    }

    public void Dispose()
    {
        if (IsMirrored)
        {
            Parameters.Dispose();
            Gradients.Dispose();
        }

        _sharedParameters.Dispose();
        _sharedGradients.Dispose();
    }
}
