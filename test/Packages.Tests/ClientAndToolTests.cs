namespace Packages.Tests;

/// <summary>A machine that coordinates and trains has the tool; an app that uses it has the client alone.</summary>
[TestClass]
[OSCondition(OperatingSystems.Linux)]
public sealed class ClientAndToolTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [TestMethod, TestCategory("Slow")]
    public async Task ClientOnly_ClusterOfTheTool_TrainsAndCarriesNothingNative()
    {
        var app = new App("Client", App.Project(package: "MLDistributed"), sources: "Program.cs");
        await app.DotnetAsync("build");
        var tools = Path.Combine(app.Folder, "tools");
        await app.DotnetAsync("tool", "install", "mldist", "--tool-path", tools);
        var mldist = Path.Combine(tools, "mldist");

        using (var version = app.Start(mldist, arguments: "--version"))
        {
            Assert.AreEqual(0, await version.Exit(s_limit));
            StringAssert.StartsWith(version.Output, Feed.Version);
        }

        using (var libtorch = app.Start(mldist, arguments: "libtorch"))
        {
            Assert.AreEqual(0, await libtorch.Exit(s_limit), libtorch.Output);
            Assert.IsTrue(File.Exists(Path.Combine(libtorch.Output.Split('\n')[^1], "libtorch_cpu.so")), libtorch.Output);
        }

        using var coordinator = app.Start(mldist, arguments: ["coordinator", "--data", Path.Combine(app.Folder, "data"), "--urls", "https://127.0.0.1:0"]);
        var join = (await coordinator.Line("^ +mldist worker ", s_limit)).Trim().Split(' ');
        var environment = coordinator.Output.Split('\n').Select(l => l.Trim()).Where(l => l.StartsWith("export ", StringComparison.Ordinal))
            .Select(l => l["export ".Length..].Split('=', 2)).ToDictionary(p => p[0], p => p[1]);
        using var worker = app.Start(mldist, environment, [.. join[1..], "--work", Path.Combine(app.Folder, "work")]);
        await worker.Line("Connected to", s_limit);

        var output = Path.Combine(app.Folder, "bin", "Debug", "net10.0");
        using var client = app.Start(Path.Combine(output, "Client"), environment);
        Assert.AreEqual(0, await client.Exit(s_limit), client.Output);

        StringAssert.Contains(client.Output, "accuracy 1.00");
        // ML.NET's own topic model is all that is native.
        var natives = Directory.GetFiles(output, "*", SearchOption.AllDirectories).Select(f => Path.GetFileName(f)!)
            .Where(f => Path.GetExtension(f) is ".so" or ".dylib" || f.Contains(".so.", StringComparison.Ordinal));
        Assert.IsEmpty(natives.Where(f => !f.Contains("LdaNative", StringComparison.Ordinal)));
        foreach (var program in new[] { worker, coordinator })
        {
            program.Signal("TERM");
            Assert.AreEqual(0, await program.Exit(s_limit), program.Output);
        }
    }

    [TestMethod, TestCategory("Slow")]
    public async Task ClientOnly_NoCluster_SaysWhatToAdd()
    {
        var app = new App("Alone", App.Project(package: "MLDistributed"), sources: "Program.cs");

        var (code, said) = await app.TryDotnetAsync("run");

        Assert.AreNotEqual(0, code);
        StringAssert.Contains(said, "dotnet add package MLDistributed.Local");
    }
}
