using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Native;

/// <summary>Tensors over memory that is ours, and the memory of tensors, without copies.</summary>
internal static unsafe partial class TorchMemory
{
    /// <summary>A float32 CPU tensor of one dimension over memory that outlives it.</summary>
    public static Tensor Wrap(float* memory, long length)
    {
        var handle = New((nint)memory, &KeepMemory, &length, 1, (sbyte)ScalarType.Float32, (sbyte)ScalarType.Float32, (int)DeviceType.CPU, -1, 0);
        return handle != 0 ? Tensor.UnsafeCreateTensor(handle) : throw new InvalidOperationException($"libtorch made no tensor over {length} floats.");
    }

    /// <summary>Where a contiguous CPU tensor's elements lie.</summary>
    public static void* Data(Tensor tensor) => (void*)Data(tensor.Handle);

    [UnmanagedCallersOnly]
    private static void KeepMemory(nint memory) { }

    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_new")]
    private static partial nint New(nint memory, delegate* unmanaged<nint, void> deleter, long* sizes, int dimensions, sbyte type, sbyte dtype, int deviceType, int deviceIndex, byte requiresGrad);

    [LibraryImport("LibTorchSharp", EntryPoint = "THSTensor_data")]
    private static partial nint Data(nint tensor);
}
