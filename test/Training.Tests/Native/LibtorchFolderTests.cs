using MLDistributed.Training.Native;

namespace Training.Tests.Native;

[TestClass]
public sealed class LibtorchFolderTests
{
    private const string InHome = "/home/u/.nuget/packages/libtorch-cpu-linux-x64/2.10.0/runtimes/linux-x64/native";

    [TestMethod]
    [DataRow("/cuda", "/beside", "/packages", new[] { "/cuda", "/beside", "/packages/libtorch-cpu-linux-x64/2.10.0/runtimes/linux-x64/native" }, "/cuda", DisplayName = "named")]
    [DataRow(null, "/beside", null, new[] { "/beside", InHome }, "/beside", DisplayName = "beside TorchSharp")]
    [DataRow(null, "/beside", "/packages", new[] { "/packages/libtorch-cpu-linux-x64/2.10.0/runtimes/linux-x64/native" }, "/packages/libtorch-cpu-linux-x64/2.10.0/runtimes/linux-x64/native", DisplayName = "NuGet's folder")]
    [DataRow(null, null, null, new[] { InHome }, InHome, DisplayName = "NuGet's folder at home")]
    [DataRow("/python/torch", "/beside", null, new[] { "/python/torch/lib", "/beside" }, "/python/torch/lib", DisplayName = "named, one above")]
    [DataRow(null, "/beside", null, new string[0], null, DisplayName = "nowhere")]
    public void Find_Places_TakesTheFirstThatHasIt(string? named, string? beside, string? packages, string[] places, string? expected) =>
        Assert.AreEqual(expected, LibtorchFolder.Find(beside, Variables(named, packages), path => places.Contains(Path.GetDirectoryName(path))));

    [TestMethod]
    public void Find_NamedFolderWithoutIt_DoesNotFallBack()
    {
        var e = Assert.ThrowsExactly<DllNotFoundException>(() => LibtorchFolder.Find("/beside", Variables("/typo", null), path => path.StartsWith("/beside", StringComparison.Ordinal)));

        Assert.Contains("MLDIST_LIBTORCH is \"/typo\", expected a folder with libtorch_cpu.so of libtorch 2.10.0", e.Message);
    }

    [TestMethod]
    [DataRow("Directory.Packages.props", $"<LibtorchVersion>{LibtorchFolder.PackageVersion}</LibtorchVersion>")]
    [DataRow("src/Local.linux-x64/buildTransitive/MLDistributed.Local.linux-x64.props", $">{LibtorchFolder.PackageId}/{LibtorchFolder.PackageVersion}/runtimes/")]
    public void PackageVersion_OfLibtorch_IsTheSameWhereverItIsWritten(string file, string expected)
    {
        var root = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(root, "MLDistributed.sln")))
            root = Path.GetDirectoryName(root)!;

        Assert.Contains(expected, File.ReadAllText(Path.Combine(root, file)));
    }

    private static Func<string, string?> Variables(string? named, string? packages) =>
        name => name switch { "MLDIST_LIBTORCH" => named, "NUGET_PACKAGES" => packages, "HOME" => "/home/u", _ => null };
}
