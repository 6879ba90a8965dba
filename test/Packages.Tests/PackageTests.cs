using System.IO.Compression;
using System.Xml.Linq;

namespace Packages.Tests;

/// <summary>What is in the packages, and what is not.</summary>
[TestClass]
[OSCondition(OperatingSystems.Linux)]
public sealed class PackageTests
{
    private const long MaxPackageBytes = 20 << 20;

    [ClassInitialize]
    public static void Pack(TestContext _) => Assert.IsNotNull(Feed.Folder);

    [TestMethod, TestCategory("Slow")]
    [DataRow("MLDistributed", true)]
    [DataRow("MLDistributed.Text", true)]
    [DataRow("MLDistributed.TorchSharp", true)]
    [DataRow("MLDistributed.Images", true)]
    [DataRow("MLDistributed.Local", false)]
    [DataRow("MLDistributed.Local.linux-x64", false)]
    [DataRow("mldist", true)]
    public void Package_Any_IsSmallAndTellsWhatItIs(string id, bool hasSymbols)
    {
        var path = Path.Combine(Feed.Packages, $"{id}.{Feed.Version}.nupkg");
        using var package = ZipFile.OpenRead(path);
        var specification = Specification(package);

        Assert.IsLessThan(MaxPackageBytes, new FileInfo(path).Length);
        Assert.IsEmpty(package.Entries.Where(e => e.Name.StartsWith("libtorch", StringComparison.Ordinal) || e.Name.StartsWith("libc10", StringComparison.Ordinal) || e.Name.StartsWith("widen", StringComparison.Ordinal)));
        Assert.AreEqual("MIT", Value(specification, "license"));
        Assert.AreEqual("README.md", Value(specification, "readme"));
        Assert.IsGreaterThan(200L, package.GetEntry("README.md")!.Length);
        Assert.AreEqual(hasSymbols, File.Exists(Path.ChangeExtension(path, ".snupkg")));
    }

    [TestMethod, TestCategory("Slow")]
    public void Client_Dependencies_AreMLNetAndTheWire()
    {
        using var package = ZipFile.OpenRead(Path.Combine(Feed.Packages, $"MLDistributed.{Feed.Version}.nupkg"));

        var dependencies = Specification(package).Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value).Order(StringComparer.Ordinal);

        CollectionAssert.AreEqual(
            new[] { "Apache.Arrow", "Apache.Arrow.Flight", "Google.Protobuf", "Grpc.Core.Api", "Grpc.Net.Client", "Microsoft.ML", "System.Numerics.Tensors" },
            dependencies.ToArray());
        Assert.IsEmpty(package.Entries.Where(e => e.FullName.StartsWith("runtimes/", StringComparison.Ordinal)));
    }

    [TestMethod, TestCategory("Slow")]
    public void OwnModules_Dependencies_AreTheClientAndTorchSharpWithoutLibtorch()
    {
        using var package = ZipFile.OpenRead(Path.Combine(Feed.Packages, $"MLDistributed.TorchSharp.{Feed.Version}.nupkg"));

        var dependencies = Specification(package).Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value).Order(StringComparer.Ordinal);

        CollectionAssert.AreEqual(new[] { "MLDistributed", "TorchSharp" }, dependencies.ToArray());
        CollectionAssert.AreEqual(new[] { "MLDistributed.Modules.dll", "Microsoft.ML.Distributed.TorchSharp.dll" }, package.Entries.Where(e => e.Name.EndsWith(".dll", StringComparison.Ordinal)).Select(e => e.Name).Order(StringComparer.Ordinal).ToArray());
    }

    [TestMethod, TestCategory("Slow")]
    public void Text_Dependencies_AreTheClientAndTheTokenizers()
    {
        using var package = ZipFile.OpenRead(Path.Combine(Feed.Packages, $"MLDistributed.Text.{Feed.Version}.nupkg"));

        var dependencies = Specification(package).Descendants().Where(e => e.Name.LocalName == "dependency").Select(e => e.Attribute("id")!.Value).Order(StringComparer.Ordinal);

        CollectionAssert.AreEqual(new[] { "MLDistributed", "Microsoft.ML", "Microsoft.ML.Tokenizers" }, dependencies.ToArray());
        CollectionAssert.AreEqual(new[] { "Microsoft.ML.Distributed.Text.dll" }, package.Entries.Where(e => e.Name.EndsWith(".dll", StringComparison.Ordinal)).Select(e => e.Name).ToArray());
    }

    private static XDocument Specification(ZipArchive package)
    {
        using var stream = package.Entries.Single(e => e.Name.EndsWith(".nuspec", StringComparison.Ordinal)).Open();
        return XDocument.Load(stream);
    }

    private static string? Value(XDocument specification, string name) => specification.Descendants().FirstOrDefault(e => e.Name.LocalName == name)?.Value;
}
