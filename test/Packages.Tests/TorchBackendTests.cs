using System.Diagnostics;
using System.Text.Json;

namespace Packages.Tests;

/// <summary>What a build asks for, by its property. Whether its packages can be had is another matter.</summary>
[TestClass]
[OSCondition(OperatingSystems.Linux)]
public sealed class TorchBackendTests
{
    [TestMethod]
    [DataRow("cpu", "libtorch-cpu-linux-x64")]
    [DataRow("cuda", "TorchSharp-cuda-linux")]
    public void References_OfABackend_AreItsLibtorchAndNoOther(string backend, string package)
    {
        var asked = PackageReferences(Path.Combine(Feed.Repository, "src", "Training"), backend);

        CollectionAssert.Contains(asked, "TorchSharp");
        CollectionAssert.AreEqual(new[] { package }, asked.Where(p => p.StartsWith("libtorch-", StringComparison.Ordinal) || p.StartsWith("TorchSharp-", StringComparison.Ordinal)).ToArray());
    }

    private static string[] PackageReferences(string project, string backend)
    {
        using var build = Process.Start(new ProcessStartInfo("dotnet", ["msbuild", project, "-nologo", "-getItem:PackageReference", $"-p:TorchBackend={backend}"]) { RedirectStandardOutput = true })!;
        var said = build.StandardOutput.ReadToEnd();
        build.WaitForExit();
        Assert.AreEqual(0, build.ExitCode, said);
        using var items = JsonDocument.Parse(said);
        return [.. items.RootElement.GetProperty("Items").GetProperty("PackageReference").EnumerateArray().Select(i => i.GetProperty("Identity").GetString()!)];
    }
}
