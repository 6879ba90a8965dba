namespace Packages.Tests;

/// <summary>Every kind of app adds a package, in an empty folder outside of the repository, and Fit returns.</summary>
[TestClass]
[OSCondition(OperatingSystems.Linux)]
public sealed class AppKindTests
{
    private const long MaxOutputBytes = 60 << 20;
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [TestMethod, TestCategory("Slow")]
    public async Task Console_NewAddRun_TrainsWithASmallOutputAndNoLibtorch()
    {
        var app = new App("Console", App.Project(), sources: "Program.cs");
        File.Delete(Path.Combine(app.Folder, "Console.csproj"));
        await app.DotnetAsync("new", "console", "--force", "--no-restore");
        File.Copy(Path.Combine(AppContext.BaseDirectory, "Apps", "Program.cs"), Path.Combine(app.Folder, "Program.cs"), overwrite: true);

        await app.DotnetAsync("add", "package", "MLDistributed.Local");
        var said = await app.DotnetAsync("run");

        StringAssert.Contains(said, "accuracy 1.00");
        StringAssert.Contains(said, "maps libtorch: False");
        StringAssert.Contains(said, Path.Combine(Feed.Folder, "packages", "mldistributed.local"), "the runtime stays in NuGet's folder");
        var output = Directory.GetFiles(Path.Combine(app.Folder, "bin"), "*", SearchOption.AllDirectories);
        Assert.IsLessThan(MaxOutputBytes, output.Sum(f => new FileInfo(f).Length));
        Assert.IsEmpty(output.Where(f => Path.GetFileName(f).Contains("torch", StringComparison.OrdinalIgnoreCase)));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task FSharp_Run_Trains()
    {
        var app = new App("FSharp", App.Project(items: "<Compile Include=\"Program.fs\" />"), "fsproj", "Program.fs");

        StringAssert.Contains(await app.DotnetAsync("run"), "accuracy 1.00");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Library_ReferencesThePackage_ItsAppTrains()
    {
        _ = new App("Library", App.Project().Replace("<OutputType>Exe</OutputType>", "", StringComparison.Ordinal));
        var app = new App("LibraryApp", """
            <Project Sdk="Microsoft.NET.Sdk">
              <PropertyGroup><TargetFramework>net10.0</TargetFramework><OutputType>Exe</OutputType><ImplicitUsings>enable</ImplicitUsings><Nullable>enable</Nullable></PropertyGroup>
              <ItemGroup><ProjectReference Include="../Library/Library.csproj" /></ItemGroup>
            </Project>
            """, sources: "Program.cs");

        StringAssert.Contains(await app.DotnetAsync("run"), "accuracy 1.00");
    }

    [TestMethod, TestCategory("Slow")]
    [DataRow("WithMSTest", "<EnableMSTestRunner>false</EnableMSTestRunner>", """<PackageReference Include="MSTest" Version="4.5.2" />""")]
    [DataRow("WithXUnit", "<DefineConstants>XUNIT</DefineConstants>", """<PackageReference Include="Microsoft.NET.Test.Sdk" Version="18.11.0" /><PackageReference Include="xunit" Version="2.9.3" /><PackageReference Include="xunit.runner.visualstudio" Version="4.0.1" />""")]
    public async Task TestProject_Test_Trains(string name, string properties, string packages)
    {
        var app = new App(name, App.Project(properties, packages).Replace("<OutputType>Exe</OutputType>", "", StringComparison.Ordinal), sources: "Tests.cs");

        StringAssert.Contains(await app.DotnetAsync("test"), "Passed:     1,");
    }

    [TestMethod, TestCategory("Slow")]
    [DataRow("INT")]
    [DataRow("TERM")]
    public async Task GenericHost_SignalInFit_CancelsItAndLeavesNothing(string signal)
    {
        var app = new App("Worker" + signal, App.Project(items: """<PackageReference Include="Microsoft.Extensions.Hosting" Version="10.0.12" />"""), sources: "Worker.cs");
        await app.DotnetAsync("build");
        var temp = Directory.CreateDirectory(Path.Combine(app.Folder, "temp")).FullName;

        using var service = RunningProgram.StartFile(Path.Combine(app.Folder, "bin", "Debug", "net10.0", app.Name), temp, new Dictionary<string, string>());
        await service.Line("Running, epoch [1-9]", s_limit);
        service.Signal(signal);
        var code = await service.Exit(s_limit);

        Assert.AreEqual(0, code, service.Output);
        StringAssert.Contains(service.Output, "Fit was cancelled");
        Assert.IsEmpty(Directory.GetDirectories(temp, "mldist-*"), "the last of the cluster's processes removes its folder");
    }
}
