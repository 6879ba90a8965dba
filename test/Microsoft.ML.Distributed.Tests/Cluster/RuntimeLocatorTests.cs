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
        Assert.AreEqual(Program(variable), Locator(context, variable, path).Locate(null).FileName);
        Assert.AreEqual(Program(beside), Locator(context, null, path).Locate(null).FileName);
        Directory.Delete(beside, recursive: true);
        Assert.AreEqual(Program(context), Locator(context, null, path).Locate(null).FileName);
        Assert.AreEqual(Program(path), Locator(null, null, $"/nowhere:{path}").Locate(null).FileName);
    }

    [TestMethod]
    public void Locate_AssemblyWithoutProgram_RunsItByTheAppsDotnet()
    {
        var folder = PlaceAssembly("dll");

        var command = Locator(folder, null, null).Locate(null);

        Assert.AreEqual(Path.Combine(_temp.Path, "dotnet", "dotnet"), command.FileName);
        Assert.AreEqual(Path.Combine(folder, "mldist.dll"), command.Arguments.Single());
        Assert.AreEqual(Path.Combine(_temp.Path, "dotnet"), command.Environment["DOTNET_ROOT"]);
    }

    [TestMethod]
    public void Locate_SelfContainedRuntime_RunsItByItsOwnDotnet()
    {
        var folder = PlaceAssembly("app/mldist");
        var own = DotnetHostTests.Install(Path.Combine(folder, "dotnet"), aspNetCore: null);

        var command = Locator(null, null, null).Locate(null);

        Assert.AreEqual(Path.Combine(own, "dotnet"), command.FileName);
        Assert.AreEqual(own, command.Environment["DOTNET_ROOT"]);
    }

    [TestMethod]
    public void Locate_LibtorchOfThePackage_IsPassedUnlessAnotherIsNamed()
    {
        var (runtime, libtorch) = (PlaceAssembly("dll"), Directory.CreateDirectory(_temp.File("libtorch")).FullName);

        Assert.AreEqual(libtorch, Locator(runtime, null, null, libtorch).Locate(null).Environment["MLDIST_LIBTORCH"]);
        Assert.DoesNotContain("MLDIST_LIBTORCH", Locator(runtime, null, null, libtorch, namedLibtorch: "/cuda").Locate(null).Environment.Keys);
        Assert.DoesNotContain("MLDIST_LIBTORCH", Locator(runtime, null, null, "/of/the/machine/that/built/it").Locate(null).Environment.Keys);
    }

    [TestMethod]
    [DataRow("win-x64")]
    [DataRow("osx-arm64")]
    [DataRow("linux-arm64")]
    [DataRow("linux-musl-x64")]
    public void Locate_OtherSystem_SaysWhatItNeedsAndWhatToDo(string system)
    {
        var e = Assert.ThrowsExactly<ClusterException>(() => new RuntimeLocator { System = system }.Locate(null));

        Assert.Contains("needs Linux on x64", e.Message);
        Assert.Contains($"this is {system}.", e.Message);
        Assert.Contains("MLDIST_COORDINATOR", e.Message);
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

    private static string Program(string folder) => Path.Combine(folder, "mldist");

    private string Place(string name) => StandIn.MakeRuntime(Directory.CreateDirectory(_temp.File(name)).FullName);

    private string PlaceAssembly(string name)
    {
        var folder = Directory.CreateDirectory(_temp.File(name)).FullName;
        File.WriteAllText(Path.Combine(folder, "mldist.dll"), "");
        return folder;
    }

    private RuntimeLocator Locator(string? context, string? variable, string? path, string? libtorch = null, string? namedLibtorch = null) => new()
    {
        AppContextFolder = context,
        LibtorchFolder = libtorch,
        AppFolder = _temp.File("app"),
        System = "linux-x64",
        Dotnet = new DotnetHost { OwnRoot = DotnetHostTests.Install(_temp.File("dotnet"), "10.0.3") },
        Variable = name => name switch { "MLDIST_RUNTIME" => variable, "MLDIST_LIBTORCH" => namedLibtorch, "PATH" => path, _ => null },
    };
}
