using MLDistributed.Protocol;

namespace MLDistributed.Training.Native;

/// <summary>
/// Where libtorch is: it is half a gigabyte, so that packages leave it in NuGet's folder instead of bringing a copy.
/// </summary>
public static class LibtorchFolder
{
    /// <summary>Names the folder, for another libtorch of the same release: a CUDA build, or that of a Python install of PyTorch (…/torch, or …/torch/lib).</summary>
    public const string Variable = LibtorchVariable.Name;

    /// <summary>The NuGet package that brings it.</summary>
    public const string PackageId = "libtorch-cpu-linux-x64";

    /// <summary>The release that TorchSharp is built against: another's functions have other names.</summary>
    public const string PackageVersion = "2.10.0";

    /// <summary>The file that makes a folder libtorch's.</summary>
    public const string MainFile = "libtorch_cpu.so";

    /// <summary>This process's libtorch, or null.</summary>
    /// <exception cref="DllNotFoundException">The variable names a folder without it.</exception>
    public static string? Find() => Find(NativeLoading.FindFile() is { } file ? Path.GetDirectoryName(file) : null, Environment.GetEnvironmentVariable, File.Exists);

    /// <summary>The folder that the variable names; else that of TorchSharp's own library; else NuGet's.</summary>
    internal static string? Find(string? besideTorchSharp, Func<string, string?> variable, Func<string, bool> exists)
    {
        if (variable(Variable) is { Length: > 0 } named)
        {
            return IsLibtorch(named) ? named
                : IsLibtorch(Path.Combine(named, "lib")) ? Path.Combine(named, "lib")
                : throw new DllNotFoundException($"{Variable} is \"{named}\", expected a folder with {MainFile} of libtorch {PackageVersion}. Correct the path, or unset the variable to have libtorch searched.");
        }

        return new[] { besideTorchSharp, InPackages(variable) }.FirstOrDefault(folder => folder is not null && IsLibtorch(folder));

        bool IsLibtorch(string folder) => exists(Path.Combine(folder, MainFile));
    }

    /// <summary>Whether the variable names it.</summary>
    public static bool IsNamed => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 };

    private static string? InPackages(Func<string, string?> variable) =>
        variable("NUGET_PACKAGES") is { Length: > 0 } packages ? Native(packages)
        : variable("HOME") is { Length: > 0 } home ? Native(Path.Combine(home, ".nuget", "packages"))
        : null;

    private static string Native(string packages) => Path.Combine(packages, PackageId, PackageVersion, "runtimes", "linux-x64", "native");
}
