using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace MLDistributed.Training.Native;

/// <summary>A libtorch that this product did not bring, such as that of a Python install of PyTorch: whether TorchSharp can run on it.</summary>
internal static partial class ForeignLibtorch
{
    /// <summary>Looks for each function that TorchSharp calls of libtorch: one that is missing ends the process when it is called.</summary>
    /// <param name="torchSharp">TorchSharp's own library.</param>
    /// <param name="folder">libtorch's.</param>
    /// <param name="libtorch">Its main library, loaded.</param>
    /// <exception cref="DllNotFoundException">It is another release's.</exception>
    public static void Check(string torchSharp, string folder, nint libtorch)
    {
        var needed = ElfSymbols.Needed(File.ReadAllBytes(torchSharp)).Where(IsLibtorchs).ToList();
        var missing = needed.Where(name => !NativeLibrary.TryGetExport(libtorch, name, out _)).ToList();
        if (missing.Count > 0)
            throw new DllNotFoundException($"{LibtorchFolder.Variable} is \"{folder}\" ({Version(folder)}), which lacks {missing.Count:N0} of the {needed.Count:N0} functions that TorchSharp calls (such as {missing[0]}), expected libtorch {LibtorchFolder.PackageVersion}. {Remedy}");
    }

    /// <summary>What is wrong with one that the system cannot load.</summary>
    public static DllNotFoundException Unloadable(string folder, string file, string reason) =>
        new($"{LibtorchFolder.Variable} is \"{folder}\" ({Version(folder)}), whose {file} cannot be loaded ({reason}), expected libtorch {LibtorchFolder.PackageVersion} with all that it needs. {Remedy}");

    private static string Remedy => $"Install that release (pip install torch=={LibtorchFolder.PackageVersion}), or unset the variable to have libtorch searched.";

    /// <summary>The release that a folder says it is of: PyTorch and libtorch's archives have a file beside it.</summary>
    internal static string Version(string folder)
    {
        var parent = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(folder)) ?? folder;
        try
        {
            if (File.Exists(Path.Combine(parent, "version.py")) && PythonVersion().Match(File.ReadAllText(Path.Combine(parent, "version.py"))) is { Success: true } version)
                return $"PyTorch {version.Groups["version"].Value}";
            if (File.Exists(Path.Combine(parent, "build-version")))
                return $"libtorch {File.ReadAllText(Path.Combine(parent, "build-version")).Trim()}";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Then it does not say.
        }

        return "of a release that it does not tell";
    }

    private static bool IsLibtorchs(string name) => LibtorchName().IsMatch(name);

    // A function or a table of one of its namespaces, as C++ compilers write them.
    [GeneratedRegex("^_Z.*(2at|3c10|5torch)", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture | RegexOptions.NonBacktracking)]
    private static partial Regex LibtorchName();

    [GeneratedRegex("^__version__ = '(?<version>[^'\n]{1,64})'", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture | RegexOptions.Multiline | RegexOptions.NonBacktracking)]
    private static partial Regex PythonVersion();
}
