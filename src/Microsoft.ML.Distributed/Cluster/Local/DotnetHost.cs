using System.Runtime.InteropServices;

namespace Microsoft.ML.Distributed;

/// <summary>The .NET installation that runs mldist: it needs the ASP.NET Core runtime, which an app may lack or bring only for itself.</summary>
internal sealed class DotnetHost
{
    private const int LeastMajor = 10;
    private const string AspNetCore = "Microsoft.AspNetCore.App";

    private static readonly string s_program = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";

    public Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    /// <summary>The root of the installation that runs this process; null when the app brings its own.</summary>
    public string? OwnRoot { get; init; } = FindRoot(RuntimeEnvironment.GetRuntimeDirectory());

    /// <summary>Where installers put it.</summary>
    public IReadOnlyList<string> UsualRoots { get; init; } = ["/usr/share/dotnet", "/usr/lib/dotnet", "/usr/lib64/dotnet"];

    /// <summary>The root of the first installation that has the ASP.NET Core runtime.</summary>
    /// <exception cref="ClusterException">None has; the message names those that were looked at.</exception>
    public string Find()
    {
        var roots = Roots().Where(r => File.Exists(Path.Combine(r, s_program))).Distinct(StringComparer.Ordinal).ToList();
        return roots.Find(HasAspNetCore) ?? throw new ClusterException(
            $"The local cluster needs the ASP.NET Core {LeastMajor} runtime, expected it in {(roots.Count > 0 ? string.Join(" or ", roots.Select(r => $"\"{r}\"")) : "a .NET installation, of which this machine has none")}. " +
            $"Install it (the package aspnetcore-runtime-{LeastMajor}.0), or publish the app with the MSBuild property MLDistRuntime=self-contained, or train on a remote cluster: ml.UseCluster(TrainingCluster.Connect(...)).");
    }

    public static string ProgramOf(string root) => Path.Combine(root, s_program);

    /// <summary>dotnet/shared/Microsoft.NETCore.App/10.0.0/ lies three folders below the root.</summary>
    internal static string? FindRoot(string runtimeFolder)
    {
        var family = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(runtimeFolder));
        var shared = Path.GetDirectoryName(family);
        return Path.GetFileName(shared) == "shared" ? Path.GetDirectoryName(shared) : null;
    }

    private IEnumerable<string> Roots()
    {
        if (OwnRoot is not null)
            yield return OwnRoot;
        if (Variable("DOTNET_ROOT") is { Length: > 0 } root)
            yield return root;
        foreach (var folder in (Variable("PATH") ?? "").Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            // /usr/bin/dotnet is a link.
            var program = new FileInfo(Path.Combine(folder, s_program));
            if (program.Exists)
                yield return Path.GetDirectoryName(program.ResolveLinkTarget(returnFinalTarget: true)?.FullName ?? program.FullName)!;
        }

        foreach (var usual in UsualRoots)
            yield return usual;
    }

    private static bool HasAspNetCore(string root)
    {
        var versions = Path.Combine(root, "shared", AspNetCore);
        return Directory.Exists(versions)
            && Directory.EnumerateDirectories(versions).Any(d => int.TryParse(Path.GetFileName(d).Split('.')[0], out var major) && major >= LeastMajor);
    }
}
