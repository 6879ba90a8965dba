namespace Microsoft.ML.Distributed.Tests;

[TestClass]
[OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
public sealed class DotnetHostTests
{
    private readonly TempFolder _temp = new();

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    /// <summary>A .NET installation in this folder, with this ASP.NET Core runtime.</summary>
    public static string Install(string root, string? aspNetCore)
    {
        Directory.CreateDirectory(Path.Combine(root, "shared", "Microsoft.NETCore.App", "10.0.3"));
        if (aspNetCore is not null)
            Directory.CreateDirectory(Path.Combine(root, "shared", "Microsoft.AspNetCore.App", aspNetCore));
        File.WriteAllText(Path.Combine(root, "dotnet"), "");
        return root;
    }

    [TestMethod]
    public void Find_AppsOwnHasAspNetCore_TakesIt()
    {
        var own = Install(_temp.File("own"), "10.0.3");

        Assert.AreEqual(own, Host(own, Install(_temp.File("path"), "10.0.3")).Find());
    }

    [TestMethod]
    [DataRow(null)]
    [DataRow("9.0.8")]
    public void Find_PlainRuntimeOrAnOlderOne_TakesTheNextThatHasIt(string? version)
    {
        var path = Install(_temp.File("path"), "11.0.0");

        Assert.AreEqual(path, Host(Install(_temp.File("own"), version), path).Find());
    }

    [TestMethod]
    public void Find_LinkOnThePath_TakesWhatItLinksTo()
    {
        var root = Install(_temp.File("real"), "10.0.3");
        var bin = Directory.CreateDirectory(_temp.File("bin")).FullName;
        File.CreateSymbolicLink(Path.Combine(bin, "dotnet"), Path.Combine(root, "dotnet"));

        Assert.AreEqual(root, Host(null, bin).Find());
    }

    [TestMethod]
    public void Find_NoneHasAspNetCore_NamesThemAndWhatToDo()
    {
        var own = Install(_temp.File("own"), null);

        var e = Assert.ThrowsExactly<ClusterException>(() => Host(own, _temp.Path).Find());

        foreach (var part in new[] { $"\"{own}\"", "ASP.NET Core 10 runtime", "aspnetcore-runtime-10.0", "MLDistRuntime=self-contained" })
            Assert.Contains(part, e.Message);
    }

    [TestMethod]
    public void Find_NoDotnetAtAll_SaysSo() =>
        Assert.Contains("of which this machine has none", Assert.ThrowsExactly<ClusterException>(() => Host(null, _temp.Path).Find()).Message);

    [TestMethod]
    [DataRow("/usr/share/dotnet/shared/Microsoft.NETCore.App/10.0.0/", "/usr/share/dotnet")]
    [DataRow("/opt/app/", null)]
    public void FindRoot_RuntimeFolder_IsThreeAbove(string runtimeFolder, string? expected) =>
        Assert.AreEqual(expected, DotnetHost.FindRoot(runtimeFolder));

    private static DotnetHost Host(string? own, string path) => new()
    {
        OwnRoot = own,
        UsualRoots = [],
        Variable = name => name == "PATH" ? path : null,
    };
}
