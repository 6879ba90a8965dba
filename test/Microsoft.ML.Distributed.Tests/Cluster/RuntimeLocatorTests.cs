namespace Microsoft.ML.Distributed.Tests;

[TestClass]
[OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
public sealed class RuntimeLocatorTests
{
    private readonly TempFolder _temp = new();

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    [TestMethod]
    public void Locate_RuntimeInAllPlaces_TakesThemInOrder()
    {
        var (given, context, variable, beside, path) = (Place("given"), Place("context"), Place("variable"), Place("app/mldist"), Place("path"));

        Assert.AreEqual(Program(given), Locator(context, variable, path).Locate(given).FileName);
        Assert.AreEqual(Program(given), Locator(context, variable, path).Locate(Program(given)).FileName, "the program itself");
        Assert.AreEqual(Program(context), Locator(context, variable, path).Locate(null).FileName);
        Assert.AreEqual(Program(variable), Locator(null, variable, path).Locate(null).FileName);
        Assert.AreEqual(Program(beside), Locator(null, null, path).Locate(null).FileName);
        Directory.Delete(beside, recursive: true);
        Assert.AreEqual(Program(path), Locator(null, null, $"/nowhere:{path}").Locate(null).FileName);
    }

    [TestMethod]
    public void Locate_AssemblyWithoutProgram_RunsItByDotnet()
    {
        var folder = Directory.CreateDirectory(_temp.File("dll")).FullName;
        File.WriteAllText(Path.Combine(folder, "mldist.dll"), "");

        var command = Locator(folder, null, null).Locate(null);

        Assert.AreEqual("dotnet", Path.GetFileName(command.FileName));
        Assert.AreEqual(Path.Combine(folder, "mldist.dll"), command.Arguments.Single());
    }

    [TestMethod]
    public void Locate_Nowhere_NamesAllPlaces()
    {
        var e = Assert.ThrowsExactly<ClusterException>(() => Locator("/context", null, "/path").Locate(null));

        foreach (var place in new[] { "MLDistributed.Runtime (\"/context\")", "MLDIST_RUNTIME (not set)", "beside the app", "the PATH", "MLDIST_COORDINATOR" })
            Assert.Contains(place, e.Message);
    }

    [TestMethod]
    public void Locate_VariableWithoutRuntime_DoesNotFallBack()
    {
        var e = Assert.ThrowsExactly<ClusterException>(() => Locator(null, "/variable", Place("path")).Locate(null));

        Assert.Contains("MLDIST_RUNTIME is \"/variable\", expected a folder with mldist", e.Message);
    }

    [TestMethod]
    public void Locate_GivenPathWithoutRuntime_DoesNotFallBack()
    {
        var e = Assert.ThrowsExactly<ClusterException>(() => Locator(Place("context"), null, null).Locate("/given"));

        Assert.Contains("RuntimePath is \"/given\"", e.Message);
    }

    [TestMethod]
    [DataRow("/usr/share/dotnet/shared/Microsoft.NETCore.App/10.0.0/", "/usr/share/dotnet")]
    [DataRow("/opt/app/", null)]
    public void FindDotnetRoot_RuntimeFolder_IsThreeAbove(string runtimeFolder, string? expected) =>
        Assert.AreEqual(expected, RuntimeLocator.FindDotnetRoot(runtimeFolder));

    private static string Program(string folder) => Path.Combine(folder, "mldist");

    private string Place(string name) => StandIn.MakeRuntime(Directory.CreateDirectory(_temp.File(name)).FullName);

    private RuntimeLocator Locator(string? context, string? variable, string? path) => new()
    {
        AppContextFolder = context,
        AppFolder = _temp.File("app"),
        Variable = name => name switch { "MLDIST_RUNTIME" => variable, "PATH" => path, _ => null },
    };
}
