using System.Diagnostics;
using System.Reflection;

namespace Packages.Tests;

/// <summary>The packages as ./pack.sh makes them, and a folder outside of the repository with apps that add them.</summary>
[TestClass]
public static class Feed
{
    private static readonly Dictionary<string, string> s_metadata =
        typeof(Feed).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().ToDictionary(a => a.Key, a => a.Value!);
    private static readonly Lazy<string> s_folder = new(Prepare);

    public static string Repository => s_metadata["Repository"];

    public static string Packages => Path.Combine(Repository, "artifacts", "packages");

    /// <summary>Where apps are made: another user may read it.</summary>
    public static string Folder => s_folder.Value;

    /// <summary>The version of all packages.</summary>
    public static string Version => Path.GetFileNameWithoutExtension(Directory.GetFiles(Packages, "mldist.*.nupkg").Single())["mldist.".Length..];

    [AssemblyCleanup]
    public static void Remove()
    {
        if (s_folder.IsValueCreated)
            Directory.Delete(s_folder.Value, recursive: true);
    }

    private static string Prepare()
    {
        using var pack = Process.Start(new ProcessStartInfo(Path.Combine(Repository, "pack.sh")) { RedirectStandardOutput = true })!;
        var said = pack.StandardOutput.ReadToEnd();
        pack.WaitForExit();
        Assert.AreEqual(0, pack.ExitCode, said);

        var folder = Directory.CreateTempSubdirectory("mlpack-").FullName;
        File.SetUnixFileMode(folder, (UnixFileMode)0b111_101_101);
        // Ours are unpacked here; those of others come from where the repository's own build has them, or from this machine's sources.
        File.WriteAllText(Path.Combine(folder, "nuget.config"), $"""
            <configuration>
              <config><add key="globalPackagesFolder" value="{folder}/packages" /></config>
              <fallbackPackageFolders><add key="machine" value="{s_metadata["NuGetPackages"]}" /></fallbackPackageFolders>
              <packageSources><add key="mldistributed" value="{Packages}" /></packageSources>
            </configuration>
            """);
        return folder;
    }
}
