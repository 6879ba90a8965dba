namespace Packages.Tests;

/// <summary>Published apps run elsewhere, by another user, who may not write where the app is.</summary>
[TestClass]
[OSCondition(OperatingSystems.Linux)]
public sealed class PublishTests
{
    private static readonly string s_path = $"PATH={Environment.GetEnvironmentVariable("PATH")}";

    [TestMethod, TestCategory("Slow")]
    [DataRow("FrameworkDependent", "", false)]
    [DataRow("SelfContained", "-p:SelfContained=true", true)]
    [DataRow("SingleFile", "-p:PublishSingleFile=true -p:SelfContained=true", true)]
    [DataRow("ReadyToRun", "-p:PublishReadyToRun=true -p:SelfContained=false", false)]
    public async Task Publish_RunElsewhereByAnotherUser_Trains(string kind, string options, bool bringsDotnet)
    {
        if (Environment.UserName != "root")
            Assert.Inconclusive("Only root can run a program as another user.");
        var app = new App(kind, App.Project(), sources: "Program.cs");
        var target = Path.Combine(Feed.Folder, "published-" + kind);

        // Hard links: a copy of libtorch for each would only cost time.
        await app.DotnetAsync(["publish", "-r", "linux-x64", "-o", target, "-p:CreateHardLinksForPublishFilesIfPossible=true", .. options.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        var elsewhere = Directory.CreateDirectory(Path.Combine(Feed.Folder, "home-" + kind)).FullName;
        var said = await App.RunAsNobodyAsync(Path.Combine(target, kind), elsewhere, bringsDotnet ? "PATH=/nowhere" : s_path);

        StringAssert.Contains(said, "accuracy 1.00");
        StringAssert.Contains(said, "maps libtorch: False");
        StringAssert.Contains(said, $" {Path.Combine(target, "mldist", "mldist.dll")}");
        if (bringsDotnet)
            StringAssert.Contains(said, $"runtime: {Path.Combine(target, "mldist", "dotnet", "dotnet")}");
        if (kind != "SingleFile")
            Assert.DoesNotContain("MLDistributed.", await File.ReadAllTextAsync(Path.Combine(target, $"{kind}.runtimeconfig.json")), "folders of the machine that built it");
    }

    [TestMethod, TestCategory("Slow")]
    [DataRow("PublishTrimmed")]
    [DataRow("PublishAot")]
    public async Task Publish_Trimmed_IsRefusedInOneMessage(string property)
    {
        var app = new App(property, App.Project(), sources: "Program.cs");
        await app.DotnetAsync("restore", "-r", "linux-x64");

        var (code, said) = await app.TryDotnetAsync("publish", "-r", "linux-x64", $"-p:{property}=true");

        Assert.AreNotEqual(0, code);
        StringAssert.Contains(said, "error MLDIST001: ML.NET does not support trimming or native AOT");
        Assert.DoesNotContain("warning IL", said);
    }

    [TestMethod, TestCategory("Slow")]
    [DataRow("win-x64")]
    [DataRow("osx-arm64")]
    public async Task Publish_ForAnotherSystem_TakesNoRuntimeAlong(string system)
    {
        var app = new App("For" + system, App.Project(), sources: "Program.cs");
        var target = Path.Combine(Feed.Folder, "published-" + system);

        await app.DotnetAsync("publish", "-r", system, "--no-self-contained", "-p:UseAppHost=false", "-o", target);

        Assert.IsTrue(File.Exists(Path.Combine(target, "Microsoft.ML.Distributed.dll")));
        Assert.IsFalse(Directory.Exists(Path.Combine(target, "mldist")));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Publish_RuntimeNone_TakesNothingAlong()
    {
        var app = new App("None", App.Project("<MLDistRuntime>none</MLDistRuntime>"), sources: "Program.cs");
        var target = Path.Combine(Feed.Folder, "published-none");

        await app.DotnetAsync("publish", "-o", target);

        Assert.IsTrue(File.Exists(Path.Combine(target, "Microsoft.ML.Distributed.dll")));
        Assert.IsFalse(Directory.Exists(Path.Combine(target, "mldist")));
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Publish_RuntimeUnknown_SaysWhatIsExpected()
    {
        var app = new App("Unknown", App.Project("<MLDistRuntime>copy</MLDistRuntime>"), sources: "Program.cs");

        var (code, said) = await app.TryDotnetAsync("publish");

        Assert.AreNotEqual(0, code);
        StringAssert.Contains(said, "error MLDIST003: MLDistRuntime is \"copy\", expected framework-dependent, self-contained or none.");
    }

    [TestMethod, TestCategory("Slow")]
    public async Task Build_LibtorchLeftOut_SaysWhatToAdd()
    {
        var app = new App("NoLibtorch", App.Project(items: """<PackageReference Include="MLDistributed.Local.linux-x64" Version="$VERSION" ExcludeAssets="all" />"""), sources: "Program.cs");

        var said = await app.DotnetAsync("build");

        StringAssert.Contains(said, "warning MLDIST002");
        StringAssert.Contains(said, "dotnet add package MLDistributed.Local.linux-x64");
    }
}
