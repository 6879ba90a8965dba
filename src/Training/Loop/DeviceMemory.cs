using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Loop;

/// <summary>What a job's parameters take of a GPU's memory; activations come on top.</summary>
internal static class DeviceMemory
{
    private const double GiB = 1 << 30;

    /// <param name="start">The rank.</param>
    /// <param name="layout">Of its parameters.</param>
    /// <param name="isOnDevice">Whether the optimizer's state is there too.</param>
    /// <param name="localSize">Ranks of this host, which share the state then.</param>
    /// <param name="cuda">Tells what the device has.</param>
    /// <exception cref="FormatException">It does not fit.</exception>
    public static void Check(RankStart start, FlatLayout layout, bool isOnDevice, int localSize, ICudaRuntime cuda)
    {
        // Of all that it has: what is free does not count what libtorch keeps of the job before.
        if (cuda.SetDevice(start.DeviceIndex) != 0 || cuda.GetMemory(out _, out var total) != 0)
        {
            _ = cuda.GetLastError();
            return;
        }

        var optimizer = start.Spec.Optimizer;
        var states = isOnDevice ? FlatOptimizer.StateNames(optimizer).Count : 0;
        var vectors = states + (isOnDevice ? DeviceOptimizer.VectorsOf(optimizer, layout) : 0);
        var bytes = checked(sizeof(float) * ((2 * layout.ParameterLength) + (vectors * DeviceShards.Share(layout.ParameterLength, localSize))));
        if (bytes <= (long)total)
            return;
        var shared = states > 0 && localSize > 1;
        throw new FormatException(
            $"Module with {layout.ParameterLength:N0} parameters takes {bytes / GiB:N1} GiB of cuda:{start.DeviceIndex} for them, their gradients and {(shared ? $"its part, of {localSize} GPUs', of " : "")}{states} states of the optimizer, expected at most the {total / GiB:N1} GiB that it has. " +
            $"Make HiddenLayers smaller, or take another optimizer{(states > 0 ? ", or more GPUs of a host, which share the states" : "")}.");
    }
}
