using System.Runtime.InteropServices;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the runtime is started.</summary>
/// <param name="FileName">The program.</param>
/// <param name="Arguments">What goes before mldist's own arguments.</param>
/// <param name="Environment">Variables that it needs.</param>
internal sealed record RuntimeCommand(string FileName, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string> Environment);

/// <summary>Finds the runtime <c>mldist</c>: training runs in its processes, so that an app never loads libtorch.</summary>
internal sealed class RuntimeLocator
{
    public const string AppContextName = "MLDistributed.Runtime";
    private const string LibtorchContextName = "MLDistributed.Libtorch";
    private const string DotnetRootVariable = "DOTNET_ROOT";

    private static readonly string s_program = OperatingSystem.IsWindows() ? "mldist.exe" : "mldist";

    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    public string? AppContextFolder { get; init; } = AppContext.GetData(AppContextName) as string;

    public string? LibtorchFolder { get; init; } = AppContext.GetData(LibtorchContextName) as string;

    public string AppFolder { get; init; } = AppContext.BaseDirectory;

    /// <summary>The system that this is, as .NET names it.</summary>
    public string System { get; init; } = RuntimeInformation.RuntimeIdentifier;

    public DotnetHost Dotnet { get; init; } = new();

    /// <exception cref="ClusterException">It is nowhere, or this system or its .NET cannot run it; the message says what to do.</exception>
    public RuntimeCommand Locate(string? given)
    {
        if (System != "linux-x64")
        {
            throw new ClusterException(
                $"A local cluster needs Linux on x64 (with glibc), and this is {System}. Train on a remote cluster instead: set {ClusterVariables.Coordinator}, or ml.UseCluster(TrainingCluster.Connect(...)); " +
                "on Windows, WSL 2 or a Linux container runs the app with its local cluster.");
        }

        if (given is not null)
            return TryPath(given) ?? throw new ClusterException($"LocalClusterOptions.RuntimePath is \"{given}\", expected a folder with {s_program} or mldist.dll in it. Correct the path, or leave it out to have it searched.");

        var tried = new List<string>();
        return FromVariable()
            ?? Try("beside the app", Path.Combine(AppFolder, "mldist"))
            ?? Try("runtimeconfig.json, " + AppContextName, AppContextFolder)
            ?? TryPathVariable()
            ?? throw new ClusterException(
                $"The runtime \"mldist\" that trains on this machine was not found. Tried: {string.Join("; ", tried)}. " +
                $"Add it to the app: dotnet add package MLDistributed.Local; or set {ClusterEnvironment.Runtime} to its folder; or name a cluster: {ClusterVariables.Coordinator}, or ml.UseCluster(TrainingCluster.Connect(...)).");

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
                .Select(Program)
                .FirstOrDefault();
        }
    }

    private RuntimeCommand? TryPath(string path)
    {
        if (IsProgram(path))
            return Program(Path.GetFullPath(path));
        var folder = Path.GetFullPath(path);
        if (IsProgram(Path.Combine(folder, s_program)))
            return Program(Path.Combine(folder, s_program));
        var assembly = Path.Combine(folder, "mldist.dll");
        if (!File.Exists(assembly))
            return null;
        // A self-contained one has a .NET of its own.
        var own = Path.Combine(folder, "dotnet");
        var root = File.Exists(DotnetHost.ProgramOf(own)) ? own : Dotnet.Find();
        return new RuntimeCommand(DotnetHost.ProgramOf(root), [assembly], EnvironmentFor(root));
    }

    private RuntimeCommand Program(string path) => new(path, [], EnvironmentFor(Dotnet.OwnRoot));

    private Dictionary<string, string> EnvironmentFor(string? dotnetRoot)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal);
        if (dotnetRoot is not null)
            variables[DotnetRootVariable] = dotnetRoot;
        // One that was named wins.
        if (LibtorchFolder is { Length: > 0 } libtorch && Directory.Exists(libtorch) && Variable(LibtorchVariable.Name) is not { Length: > 0 })
            variables[LibtorchVariable.Name] = libtorch;
        return variables;
    }

    private static bool IsProgram(string path) =>
        File.Exists(path) && (OperatingSystem.IsWindows()
            ? path.EndsWith(".exe", StringComparison.OrdinalIgnoreCase)
            : (File.GetUnixFileMode(path) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0);
}
