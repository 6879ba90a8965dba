using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace MLDistributed.Training.Native.Cuda;

/// <summary>The libcudart that libtorch has loaded (cudart64_*.dll on Windows).</summary>
/// <remarks>https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__MEMORY.html. Its name has a version, and in libtorch's packages a hash, so that it is looked for and not named.</remarks>
internal sealed unsafe partial class CudaRuntime : ICudaRuntime
{
    private readonly delegate* unmanaged<int, int> _setDevice;
    private readonly delegate* unmanaged<nint, nuint, uint, int> _hostRegister;
    private readonly delegate* unmanaged<nint, int> _hostUnregister;
    private readonly delegate* unmanaged<int> _getLastError;
    private readonly delegate* unmanaged<int, byte*> _getErrorString;

    private CudaRuntime(nint library)
    {
        _setDevice = (delegate* unmanaged<int, int>)NativeLibrary.GetExport(library, "cudaSetDevice");
        _hostRegister = (delegate* unmanaged<nint, nuint, uint, int>)NativeLibrary.GetExport(library, "cudaHostRegister");
        _hostUnregister = (delegate* unmanaged<nint, int>)NativeLibrary.GetExport(library, "cudaHostUnregister");
        _getLastError = (delegate* unmanaged<int>)NativeLibrary.GetExport(library, "cudaGetLastError");
        _getErrorString = (delegate* unmanaged<int, byte*>)NativeLibrary.GetExport(library, "cudaGetErrorString");
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

    /// <summary>Whether a file is the runtime by its name: libcudart.so.12, libcudart-218eec4c.so.12, cudart64_12.dll.</summary>
    public static bool IsRuntime(string path) => RuntimeName().IsMatch(Path.GetFileName(path));

    public int SetDevice(int index) => _setDevice(index);

    public int HostRegister(nint memory, nuint bytes, uint flags) => _hostRegister(memory, bytes, flags);

    public int HostUnregister(nint memory) => _hostUnregister(memory);

    public int GetLastError() => _getLastError();

    public string GetErrorString(int error) => Marshal.PtrToStringUTF8((nint)_getErrorString(error)) ?? "";

    [GeneratedRegex(@"^(libcudart(-[0-9a-f]+)?\.so(\.\d+)*|cudart64_\d+\.dll)$", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1000)]
    private static partial Regex RuntimeName();
}
