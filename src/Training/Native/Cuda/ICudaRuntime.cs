namespace MLDistributed.Training.Native.Cuda;

/// <summary>The part of CUDA's runtime that is used beside libtorch. Every call but the last gives its error code; 0 is success.</summary>
internal interface ICudaRuntime
{
    /// <summary>Makes a device the calling thread's own.</summary>
    int SetDevice(int index);

    /// <summary>Page-locks memory, so that devices copy from and to it without the driver's own buffer between.</summary>
    int HostRegister(nint memory, nuint bytes, uint flags);

    int HostUnregister(nint memory);

    /// <summary>Takes the last error away, which libtorch would else take for its own.</summary>
    int GetLastError();

    string GetErrorString(int error);
}
