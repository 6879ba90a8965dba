using System.Diagnostics;

namespace MLDistributed.Tests.Shared;

/// <summary>A package that is restored when it is asked for: no build depends on it, and no output folder has a copy.</summary>
internal static class RestoredPackage
{
    private const int LimitMilliseconds = 180_000;

    /// <summary>The folder that it is in.</summary>
    /// <returns>The folder; or null, and why it is not there.</returns>
    public static (string? Folder, string? Reason) Find(string id, string version)
    {
        var cache = System.Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(System.Environment.GetFolderPath(System.Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var folder = Path.Combine(cache, id.ToLowerInvariant(), version);
        return Directory.Exists(folder) || Restore(id, version) is not { } error ? (folder, null) : (null, $"Package {id} {version} cannot be restored: {error}");
    }

    // Without what it depends on: its code is not run.
    private static string? Restore(string id, string version)
    {
        var project = Directory.CreateTempSubdirectory("mltest-");
        try
        {
            File.WriteAllText(Path.Combine(project.FullName, "Restore.csproj"), $"""
                <Project Sdk="Microsoft.NET.Sdk">
                  <PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
                  <ItemGroup><PackageDownload Include="{id}" Version="[{version}]" /></ItemGroup>
                </Project>
                """);
            using var restore = Process.Start(new ProcessStartInfo("dotnet", ["restore", "--nologo", "-v", "quiet"]) { WorkingDirectory = project.FullName, RedirectStandardOutput = true, RedirectStandardError = true })!;
            var said = restore.StandardOutput.ReadToEndAsync();
            if (restore.WaitForExit(LimitMilliseconds))
                return restore.ExitCode == 0 ? null : said.GetAwaiter().GetResult().Trim();
            restore.Kill(entireProcessTree: true);
            return $"no answer in {LimitMilliseconds / 1000} s";
        }
        finally
        {
            project.Delete(recursive: true);
        }
    }
}
