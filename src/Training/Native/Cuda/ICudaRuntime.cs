namespace MLDistributed.Training.Native.Cuda;

/// <summary>The part of CUDA's runtime that is used beside libtorch. Every call but the last gives its error code; 0 is success.</summary>
/// <remarks>Streams are queues of work of a device, events places in them. libtorch computes on the stream 0.</remarks>
internal interface ICudaRuntime
{
    /// <summary>Makes a device the calling thread's own.</summary>
    int SetDevice(int index);

    /// <summary>What the calling thread's device has.</summary>
    int GetMemory(out nuint free, out nuint total);

    /// <summary>Page-locks memory, so that devices copy from and to it without the driver's own buffer between.</summary>
    int HostRegister(nint memory, nuint bytes, uint flags);

    int HostUnregister(nint memory);

    /// <summary>Makes a stream that does not wait for stream 0, nor that one for it.</summary>
    int CreateStream(out nint stream);

    int DestroyStream(nint stream);

    /// <summary>Makes an event that takes no times. One that was never recorded is over.</summary>
    int CreateEvent(out nint place);

    int DestroyEvent(nint place);

    /// <summary>Puts an event behind what is queued on a stream now.</summary>
    int RecordEvent(nint place, nint stream);

    /// <summary>What is queued on a stream from now on waits for an event.</summary>
    int WaitForEvent(nint stream, nint place);

    /// <summary>Whether an event is over: 0, or <see cref="CudaRuntime.NotReady"/>.</summary>
    int QueryEvent(nint place);

    /// <summary>Blocks until an event is over.</summary>
    int SynchronizeEvent(nint place);

    /// <summary>Queues a copy from page-locked memory to a device's. From other memory the call takes as long as the copy.</summary>
    int CopyToDevice(nint to, nint from, nuint bytes, nint stream);

    /// <summary>Takes the last error away, which libtorch would else take for its own.</summary>
    int GetLastError();

    string GetErrorString(int error);
}
