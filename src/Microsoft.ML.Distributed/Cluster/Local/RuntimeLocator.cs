using System.Runtime.InteropServices;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the runtime is started: a program and what goes before mldist's own arguments.</summary>
internal sealed record RuntimeCommand(string FileName, IReadOnlyList<string> Arguments);

/// <summary>Finds the runtime <c>mldist</c>: training runs in its processes, so that an app never loads libtorch.</summary>
internal sealed class RuntimeLocator
{
    public const string AppContextName = "MLDistributed.Runtime";

    private static readonly string s_program = OperatingSystem.IsWindows() ? "mldist.exe" : "mldist";

    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    public string? AppContextFolder { get; init; } = AppContext.GetData(AppContextName) as string;

    public string AppFolder { get; init; } = AppContext.BaseDirectory;

    /// <summary>The root of the .NET installation that runs this process; null when the app brings its own.</summary>
    public static string? DotnetRoot { get; } = FindDotnetRoot(RuntimeEnvironment.GetRuntimeDirectory());

    /// <exception cref="ClusterException">It is nowhere; the message lists all places.</exception>
    public RuntimeCommand Locate(string? given)
    {
        if (given is not null)
            return TryPath(given) ?? throw new ClusterException($"LocalClusterOptions.RuntimePath is \"{given}\", expected a folder with {s_program} or mldist.dll in it. Correct the path, or leave it out to have it searched.");

        var tried = new List<string>();
        return Try("runtimeconfig.json, " + AppContextName, AppContextFolder)
            ?? FromVariable()
            ?? Try("beside the app", Path.Combine(AppFolder, "mldist"))
            ?? TryPathVariable()
            ?? throw new ClusterException(
                $"The runtime \"mldist\" that trains on this machine was not found. Tried: {string.Join("; ", tried)}. " +
                $"Install it and set {ClusterEnvironment.Runtime} to its folder, or name a cluster: {ClusterVariables.Coordinator}, or ml.UseCluster(TrainingCluster.Connect(...)).");

        RuntimeCommand? Try(string place, string? path)
        {
            tried.Add(path is { Length: > 0 } ? $"{place} (\"{path}\")" : $"{place} (not set)");
            return path is { Length: > 0 } ? TryPath(path) : null;
        }

        // Another must not take the place of one that was named.
        RuntimeCommand? FromVariable() => Try(ClusterEnvironment.Runtime, Variable(ClusterEnvironment.Runtime)) is { } found ? found
            : Variable(ClusterEnvironment.Runtime) is { Length: > 0 } named
                ? throw new ClusterException($"{ClusterEnvironment.Runtime} is \"{named}\", expected a folder with {s_program} or mldist.dll in it. Correct the path, or unset the variable to have the runtime searched.")
                : null;

        RuntimeCommand? TryPathVariable()
        {
            tried.Add("the PATH");
            return (Variable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
                .Select(folder => Path.Combine(folder, s_program))
                .Where(IsProgram)
                .Select(program => new RuntimeCommand(program, []))
                .FirstOrDefault();
        }
    }

    private static RuntimeCommand? TryPath(string path)
    {
        if (IsProgram(path))
            return new RuntimeCommand(Path.GetFullPath(path), []);
        var program = Path.GetFullPath(Path.Combine(path, s_program));
        if (IsProgram(program))
            return new RuntimeCommand(program, []);
        var assembly = Path.ChangeExtension(program, ".dll");
        return File.Exists(assembly) ? new RuntimeCommand(DotnetHost(), [assembly]) : null;
    }

    private static bool IsProgram(string path) =>
        File.Exists(path) && (OperatingSystem.IsWindows()
            ? path.EndsWith(".exe", StringComparison.OrdinalIgnoreCase)
            : (File.GetUnixFileMode(path) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0);

    private static string DotnetHost()
    {
        var name = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";
        return DotnetRoot is not null && File.Exists(Path.Combine(DotnetRoot, name)) ? Path.Combine(DotnetRoot, name) : name;
    }

    /// <summary>dotnet/shared/Microsoft.NETCore.App/10.0.0/ lies three folders below the root.</summary>
    internal static string? FindDotnetRoot(string runtimeFolder)
    {
        var family = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(runtimeFolder));
        var shared = Path.GetDirectoryName(family);
        return Path.GetFileName(shared) == "shared" ? Path.GetDirectoryName(shared) : null;
    }
}
