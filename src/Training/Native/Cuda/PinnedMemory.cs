using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Native.Cuda;

/// <summary>Memory that is page-locked until this is disposed, which must be before it is unmapped.</summary>
internal sealed class PinnedMemory : SafeHandleZeroOrMinusOneIsInvalid
{
    // All contexts see it as page-locked, whichever made it so.
    private const uint Portable = 1;

    private readonly ICudaRuntime _cuda;

    /// <exception cref="CudaException">The driver refuses.</exception>
    public PinnedMemory(ICudaRuntime cuda, nint memory, long bytes) : base(ownsHandle: true)
    {
        _cuda = cuda;
        CudaException.Check(cuda, cuda.HostRegister(memory, (nuint)bytes, Portable), $"cudaHostRegister of {bytes:N0} bytes");
        SetHandle(memory);
    }

    protected override bool ReleaseHandle()
    {
        if (_cuda.HostUnregister(handle) == 0)
            return true;
        _ = _cuda.GetLastError();
        return false;
    }
}
