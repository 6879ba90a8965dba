using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace MLDistributed.Training.Native;

/// <summary>
/// Makes libLibTorchSharp.so load on systems whose libstdc++ is older than GCC 13's. It needs the symbol version
/// GLIBCXX_3.4.32 for one symbol that is never called; a copy in memory with that need marked weak works. The file is
/// left alone: in build outputs it is a hard link into the package cache.
/// </summary>
internal static partial class NativeLoading
{
    public const string NeededVersion = "GLIBCXX_3.4.32";
    private const string Name = "LibTorchSharp";

    // Loaded first, by full path: the copy in memory has no folder next to which its dependencies could be found.
    // The CUDA ones are wanted by none of the others: unless they are loaded by hand there is no CUDA.
    private static readonly string[] s_dependencies = ["libc10.so", LibtorchFolder.MainFile, "libc10_cuda.so", "libtorch_cuda.so", "libtorch.so"];

    private static readonly Lazy<nint> s_library = new(Load);

    /// <summary>Where TorchSharp's own library lies; null when it is nowhere. libtorch may be elsewhere (<see cref="LibtorchFolder"/>).</summary>
    public static string? FindFile()
    {
        var folders = new List<string> { AppContext.BaseDirectory, Path.Combine(AppContext.BaseDirectory, "runtimes", RuntimeInformation.RuntimeIdentifier, "native") };
        if (AppContext.GetData("NATIVE_DLL_SEARCH_DIRECTORIES") is string more)
            folders.AddRange(more.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries));
        return folders.Select(f => Path.Combine(f, $"lib{Name}.so")).FirstOrDefault(File.Exists);
    }

    /// <summary>Why libtorch's CUDA part, which is there, could not be loaded; null: it was, or there is none.</summary>
    public static string? CudaFailure { get; private set; }

    // A module initialiser, since the resolver has to be there before anything of TorchSharp runs, in tests too.
    [ModuleInitializer]
    internal static void Initialize()
    {
        if (!OperatingSystem.IsLinux())
            return;
        NativeLibrary.SetDllImportResolver(typeof(torch).Assembly, Resolve);
        NativeLibrary.SetDllImportResolver(typeof(NativeLoading).Assembly, Resolve);
    }

    /// <summary>Loads the library now, if it is not yet.</summary>
    internal static void EnsureLoaded()
    {
        if (OperatingSystem.IsLinux())
            _ = s_library.Value;
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? search) => name == Name ? s_library.Value : 0;

    private static nint Load()
    {
        if (FindFile() is not { } path)
            return 0;
        var libtorch = LibtorchFolder.Find() ?? throw new DllNotFoundException(
            $"libtorch {LibtorchFolder.PackageVersion} was not found, expected it beside \"{path}\" or in NuGet's package folder ({LibtorchFolder.PackageId}). " +
            $"\"mldist libtorch\" fetches it; or set {LibtorchFolder.Variable} to its folder.");
        LoadDependencies(path, libtorch);
        return NativeLibrary.TryLoad(path, out var stock) ? stock : LoadWeakened(path);
    }

    private static void LoadDependencies(string path, string libtorch)
    {
        // Its name has a hash.
        foreach (var openMp in Directory.EnumerateFiles(libtorch, "libgomp*.so*"))
            NativeLibrary.TryLoad(openMp, out _);
        nint library = 0;
        foreach (var file in s_dependencies.Where(d => File.Exists(Path.Combine(libtorch, d))))
        {
            try
            {
                library = NativeLibrary.Load(Path.Combine(libtorch, file));
            }
            catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
            {
                var reason = e.Message.ReplaceLineEndings(" ").Trim();
                if (file.Contains("cuda", StringComparison.Ordinal))
                    CudaFailure ??= reason;
                else if (LibtorchFolder.IsNamed)
                    throw ForeignLibtorch.Unloadable(libtorch, file, reason);
                else // the system may have one of another release, which would take its place
                    throw new DllNotFoundException($"{file} of libtorch in \"{libtorch}\" cannot be loaded ({reason}), expected that of libtorch {LibtorchFolder.PackageVersion}, whole. Remove it, and install or fetch it anew (\"mldist libtorch\").");
            }
        }

        if (LibtorchFolder.IsNamed)
            ForeignLibtorch.Check(path, libtorch, library);
    }

    private static nint LoadWeakened(string path)
    {
        var library = File.ReadAllBytes(path);
        if (ElfVersionNeeds.Weaken(library, NeededVersion) == 0)
            return 0;
        return LoadFromMemory(library) is var loaded and not 0 ? loaded : LoadFromFile(library);
    }

    private static nint LoadFromMemory(byte[] library)
    {
        var descriptor = MemfdCreate(Name, 0);
        if (descriptor < 0)
            return 0;
        // Left open: debuggers and stack traces read the library through it.
        using var handle = new Microsoft.Win32.SafeHandles.SafeFileHandle(descriptor, ownsHandle: false);
        RandomAccess.Write(handle, library, 0);
        return NativeLibrary.TryLoad($"/proc/self/fd/{descriptor}", out var loaded) ? loaded : 0;
    }

    // Where memory must not be executable (vm.memfd_noexec): a private file that loses its name at once.
    private static nint LoadFromFile(byte[] library)
    {
        var folder = Directory.CreateTempSubdirectory("mldist-native-");
        try
        {
            var file = Path.Combine(folder.FullName, $"lib{Name}.so");
            File.WriteAllBytes(file, library);
            return NativeLibrary.Load(file);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [LibraryImport("libc", EntryPoint = "memfd_create", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemfdCreate(string name, uint flags);
}
