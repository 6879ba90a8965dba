using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
public sealed class ChildEnvironmentTests
{
    [TestMethod]
    [DataRow("DOTNET_GCHeapHardLimit", false)]
    [DataRow("DOTNET_GCHeapHardLimitPercent", false)]
    [DataRow("DOTNET_GCgen0size", false)]
    [DataRow("DOTNET_GCConserveMemory", false)]
    [DataRow("DOTNET_gcServer", false)]
    [DataRow("dotnet_gcserver", false)]
    [DataRow("COMPlus_GCHeapHardLimit", false)]
    [DataRow("DOTNET_TieredCompilation", false)]
    [DataRow("DOTNET_STARTUP_HOOKS", false)]
    [DataRow("DOTNET_ADDITIONAL_DEPS", false)]
    [DataRow("DOTNET_DiagnosticPorts", false)]
    [DataRow("CORECLR_ENABLE_PROFILING", false)]
    [DataRow("CORECLR_PROFILER_PATH", false)]
    [DataRow("COR_PROFILER", false)]
    [DataRow("ASPNETCORE_URLS", false)]
    [DataRow("HTTP_PORTS", false)]
    [DataRow("DOTNET_ROOT", true)]
    [DataRow("DOTNET_ROLL_FORWARD", true)]
    [DataRow("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", true)]
    [DataRow("DOTNET_PROCESSOR_COUNT", true)]
    [DataRow("LD_LIBRARY_PATH", true)]
    [DataRow("LD_PRELOAD", true)]
    [DataRow("CUDA_VISIBLE_DEVICES", true)]
    [DataRow("TMPDIR", true)]
    [DataRow("HTTP_PROXY", true)]
    public void Clean_AVariable_StaysWhenItConcernsTheMachine(string name, bool stays)
    {
        var environment = new Dictionary<string, string?> { [name] = "1" };

        ChildEnvironment.Clean(environment);

        Assert.AreEqual(stays, environment.ContainsKey(name));
    }

    [TestMethod]
    public void ApplyEscapes_NamedForOurProcesses_HoldAgainstOurOwn()
    {
        var environment = new Dictionary<string, string?> { ["MLDIST_CHILD_DOTNET_EnableDiagnostics"] = "1", ["DOTNET_EnableDiagnostics"] = "0", ["MLDIST_CHILD_"] = "x" };

        ChildEnvironment.ApplyEscapes(environment);

        Assert.AreEqual("1", environment["DOTNET_EnableDiagnostics"]);
        Assert.HasCount(3, environment);
    }
}
