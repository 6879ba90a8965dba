using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace MLDistributed.Training.Native.Cuda;

/// <summary>The libcudart that libtorch has loaded (cudart64_*.dll on Windows).</summary>
/// <remarks>https://docs.nvidia.com/cuda/cuda-runtime-api/. Its name has a version, and in libtorch's packages a hash, so that it is looked for and not named.</remarks>
internal sealed unsafe partial class CudaRuntime : ICudaRuntime
{
    /// <summary>What a query gives of an event that is not over.</summary>
    public const int NotReady = 600; // cudaErrorNotReady

    private const uint NonBlocking = 1; // cudaStreamNonBlocking
    private const uint DisableTiming = 2; // cudaEventDisableTiming
    private const int HostToDevice = 1; // cudaMemcpyHostToDevice

    private readonly delegate* unmanaged<int, int> _setDevice;
    private readonly delegate* unmanaged<nuint*, nuint*, int> _memGetInfo;
    private readonly delegate* unmanaged<nint, nuint, uint, int> _hostRegister;
    private readonly delegate* unmanaged<nint, int> _hostUnregister;
    private readonly delegate* unmanaged<nint*, uint, int> _streamCreate;
    private readonly delegate* unmanaged<nint, int> _streamDestroy;
    private readonly delegate* unmanaged<nint*, uint, int> _eventCreate;
    private readonly delegate* unmanaged<nint, int> _eventDestroy;
    private readonly delegate* unmanaged<nint, nint, int> _eventRecord;
    private readonly delegate* unmanaged<nint, nint, uint, int> _streamWaitEvent;
    private readonly delegate* unmanaged<nint, int> _eventQuery;
    private readonly delegate* unmanaged<nint, int> _eventSynchronize;
    private readonly delegate* unmanaged<nint, nint, nuint, int, nint, int> _memcpyAsync;
    private readonly delegate* unmanaged<int> _getLastError;
    private readonly delegate* unmanaged<int, byte*> _getErrorString;

    private CudaRuntime(nint library)
    {
        _setDevice = (delegate* unmanaged<int, int>)Function("cudaSetDevice");
        _memGetInfo = (delegate* unmanaged<nuint*, nuint*, int>)Function("cudaMemGetInfo");
        _hostRegister = (delegate* unmanaged<nint, nuint, uint, int>)Function("cudaHostRegister");
        _hostUnregister = (delegate* unmanaged<nint, int>)Function("cudaHostUnregister");
        _streamCreate = (delegate* unmanaged<nint*, uint, int>)Function("cudaStreamCreateWithFlags");
        _streamDestroy = (delegate* unmanaged<nint, int>)Function("cudaStreamDestroy");
        _eventCreate = (delegate* unmanaged<nint*, uint, int>)Function("cudaEventCreateWithFlags");
        _eventDestroy = (delegate* unmanaged<nint, int>)Function("cudaEventDestroy");
        _eventRecord = (delegate* unmanaged<nint, nint, int>)Function("cudaEventRecord");
        _streamWaitEvent = (delegate* unmanaged<nint, nint, uint, int>)Function("cudaStreamWaitEvent");
        _eventQuery = (delegate* unmanaged<nint, int>)Function("cudaEventQuery");
        _eventSynchronize = (delegate* unmanaged<nint, int>)Function("cudaEventSynchronize");
        _memcpyAsync = (delegate* unmanaged<nint, nint, nuint, int, nint, int>)Function("cudaMemcpyAsync");
        _getLastError = (delegate* unmanaged<int>)Function("cudaGetLastError");
        _getErrorString = (delegate* unmanaged<int, byte*>)Function("cudaGetErrorString");

        nint Function(string name) => NativeLibrary.GetExport(library, name);
    }

    /// <exception cref="DllNotFoundException">It is nowhere.</exception>
    /// <exception cref="EntryPointNotFoundException">It is another library.</exception>
    public static CudaRuntime Load()
    {
        using var process = Process.GetCurrentProcess();
        var loaded = process.Modules.Cast<ProcessModule>().Select(m => m.FileName);
        var beside = LibtorchFolder.Find() is { } libtorch ? Directory.EnumerateFiles(libtorch) : [];
        // Another copy than libtorch's would do, as they share the device's context; its own is better.
        foreach (var path in loaded.Concat(beside).Where(IsRuntime))
            if (NativeLibrary.TryLoad(path, out var library))
                return new CudaRuntime(library);
        throw new DllNotFoundException("libcudart is neither loaded nor beside libtorch");
    }

    /// <summary>The one in a file.</summary>
    internal static CudaRuntime Of(string path) => new(NativeLibrary.Load(path));

    /// <summary>Whether a file is the runtime by its name: libcudart.so.12, libcudart-218eec4c.so.12, cudart64_12.dll.</summary>
    public static bool IsRuntime(string path) => RuntimeName().IsMatch(Path.GetFileName(path));

    public int SetDevice(int index) => _setDevice(index);

    public int GetMemory(out nuint free, out nuint total)
    {
        fixed (nuint* freeAt = &free, totalAt = &total)
            return _memGetInfo(freeAt, totalAt);
    }

    public int HostRegister(nint memory, nuint bytes, uint flags) => _hostRegister(memory, bytes, flags);

    public int HostUnregister(nint memory) => _hostUnregister(memory);

    public int CreateStream(out nint stream)
    {
        fixed (nint* at = &stream)
            return _streamCreate(at, NonBlocking);
    }

    public int DestroyStream(nint stream) => _streamDestroy(stream);

    public int CreateEvent(out nint place)
    {
        fixed (nint* at = &place)
            return _eventCreate(at, DisableTiming);
    }

    public int DestroyEvent(nint place) => _eventDestroy(place);

    public int RecordEvent(nint place, nint stream) => _eventRecord(place, stream);

    public int WaitForEvent(nint stream, nint place) => _streamWaitEvent(stream, place, 0);

    public int QueryEvent(nint place) => _eventQuery(place);

    public int SynchronizeEvent(nint place) => _eventSynchronize(place);

    public int CopyToDevice(nint to, nint from, nuint bytes, nint stream) => _memcpyAsync(to, from, bytes, HostToDevice, stream);

    public int GetLastError() => _getLastError();

    public string GetErrorString(int error) => Marshal.PtrToStringUTF8((nint)_getErrorString(error)) ?? "";

    [GeneratedRegex(@"^(libcudart(-[0-9a-f]+)?\.so(\.\d+)*|cudart64_\d+\.dll)$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex RuntimeName();
}
