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
    public async Task ModuleOfItsOwn_Run_TrainsAndLoadsNoLibtorch()
    {
        var app = new App("Own", App.Project(items: """<PackageReference Include="MLDistributed.TorchSharp" Version="$VERSION" />"""), sources: "OwnModule.cs");

        var said = await app.DotnetAsync("run");

        StringAssert.Contains(said, "accuracy 1.00");
        StringAssert.Contains(said, "maps libtorch: False");
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

    [TestMethod, TestCategory("Slow")]
    [DataRow("INT")]
    [DataRow("TERM")]
    public async Task WebApi_SignalInFit_AnsweredItsClientsAndLeavesNothing(string signal)
    {
        var samples = Path.Combine(Feed.Repository, "samples");
        var app = new App("WebApi" + signal, App.Project(items: """<Content Include="digits.csv" CopyToOutputDirectory="PreserveNewest" />""", sdk: "Microsoft.NET.Sdk.Web"),
            sources: [.. Directory.GetFiles(Path.Combine(samples, "WebApi"), "*.cs"), Path.Combine(samples, "Digits", "digits.csv")]);
        await app.DotnetAsync("build");
        var temp = Directory.CreateDirectory(Path.Combine(app.Folder, "temp")).FullName;

        using var service = RunningProgram.StartFile(Path.Combine(app.Folder, "bin", "Debug", "net10.0", app.Name), temp, new Dictionary<string, string>(), "--urls", "http://127.0.0.1:0");
        using var client = new HttpClient { BaseAddress = new Uri((await service.Line("Now listening on: ", s_limit)).Split("on: ")[^1]) };
        await service.Line("A new model is in use", s_limit);
        await UntilAsync(async () => (await client.PostAsync(new Uri("/train?epochs=10000", UriKind.Relative), null)).IsSuccessStatusCode);
        await UntilAsync(async () => (await client.GetStringAsync(new Uri("/training", UriKind.Relative))).Contains("\"state\":\"running\"", StringComparison.Ordinal));
        var pixels = string.Join(',', File.ReadLines(Path.Combine(samples, "Digits", "digits.csv")).First().Split(',')[..64]);
        var answers = await Task.WhenAll(Enumerable.Range(0, 32).Select(_ => Task.Run(() => AskAsync(client, pixels))));
        service.Signal(signal);
        var code = await service.Exit(s_limit);

        Assert.AreEqual(0, code, service.Output);
        Assert.HasCount(1, answers.SelectMany(a => a).Distinct().ToList(), "All clients get the same answer to the same question.");
        Assert.IsEmpty(Directory.GetDirectories(temp, "mldist-*"), "the last of the cluster's processes removes its folder");
    }

    private static async Task<List<string>> AskAsync(HttpClient client, string pixels)
    {
        var answers = new List<string>();
        for (var i = 0; i < 20; i++)
        {
            using var answer = await client.PostAsync(new Uri("/predict", UriKind.Relative), new StringContent($$"""{ "pixels": [{{pixels}}] }""", System.Text.Encoding.UTF8, "application/json"));
            answers.Add(await answer.EnsureSuccessStatusCode().Content.ReadAsStringAsync());
        }

        return answers;
    }

    private static async Task UntilAsync(Func<Task<bool>> holds)
    {
        using var limit = new CancellationTokenSource(s_limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(100));
        while (!await holds())
            await timer.WaitForNextTickAsync(limit.Token);
    }
}
