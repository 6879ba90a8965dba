using System.Diagnostics;

namespace Cluster.Tests;

/// <summary>An app, ended in every way, leaves nothing behind.</summary>
[TestClass]
public sealed class CleanUpTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);
    private static readonly Dictionary<string, string> s_runtime = new() { ["MLDIST_RUNTIME"] = Path.GetDirectoryName(RunningProgram.PathOf("MLDistributed.Cli", "mldist"))! };

    [TestMethod]
    public Task Sample_RunToItsEnd_LeavesNothing() => LeavesNothing(async sample =>
    {
        Assert.AreEqual(0, await sample.Exit(Limit), sample.Output);
        StringAssert.Contains(sample.Output, "micro accuracy 0.9");
    }, TimeSpan.FromSeconds(5));

    [TestMethod]
    public Task Sample_KilledWhileTraining_LeavesNothingWithinFiveSeconds() => LeavesNothing(async sample =>
    {
        await sample.Line("training|epoch", Limit);
        sample.Signal("KILL");
        await sample.Exit(Limit);
    }, TimeSpan.FromSeconds(5));

    [TestMethod]
    public Task Sample_InterruptedWhileTraining_CancelsAndLeavesNothing() => LeavesNothing(async sample =>
    {
        await sample.Line("training|epoch", Limit);
        // Ctrl-C reaches every process of the terminal's group.
        await sample.SignalGroup("INT");
        Assert.AreEqual(130, await sample.Exit(Limit), sample.Output);
        StringAssert.Contains(sample.Output, "Cancelled.");
    }, TimeSpan.FromSeconds(5));

    [TestMethod]
    public Task Sample_WhoseTerminalCloses_LeavesNothing() => LeavesNothing(async sample =>
    {
        await sample.Line("training|epoch", Limit);
        // The hang-up reaches every process of the terminal's group, and ends the app.
        await sample.SignalGroup("HUP");
        await sample.Exit(Limit);
    }, TimeSpan.FromSeconds(5));

    [TestMethod]
    public Task App_WhoseMainReturnsInTheMiddleOfCalls_EndsWithItsOwnExitCode() => LeavesNothing(async app =>
    {
        Assert.AreEqual(3, await app.Exit(Limit), app.Output);
        Assert.DoesNotContain("xception", app.Output);
    }, TimeSpan.FromSeconds(5), "TrainingApp", "leave");

    private static Task LeavesNothing(Func<Sample, Task> act, TimeSpan limit) => LeavesNothing(act, limit, "Digits");

    private static async Task LeavesNothing(Func<Sample, Task> act, TimeSpan limit, string name, params string[] arguments)
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Looks at /proc, which only Linux has.");
        var folder = Directory.CreateTempSubdirectory("mltest-").FullName;
        var sharedMemory = Directory.GetFiles("/dev/shm", "mldist-*").ToHashSet();
        try
        {
            using (var program = RunningProgram.Start(name, folder, name, s_runtime, arguments))
                await act(new Sample(program, folder));

            Assert.IsTrue(
                await ProcessTree.Until(() => ProcessTree.Naming(folder).Count == 0 && Directory.GetDirectories(folder, "mldist-*").Length == 0, limit),
                $"Left: {string.Join("; ", ProcessTree.Naming(folder))} {string.Join("; ", Directory.GetDirectories(folder, "mldist-*"))}");
            Assert.IsEmpty(Directory.GetFiles("/dev/shm", "mldist-*").Where(f => !sharedMemory.Contains(f)));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private sealed record Sample(RunningProgram Program, string Folder)
    {
        public string Output => Program.Output;

        public Task<string> Line(string pattern, TimeSpan limit) => Program.Line(pattern, limit);

        public Task<int> Exit(TimeSpan limit) => Program.Exit(limit);

        public void Signal(string name) => Program.Signal(name);

        public async Task SignalGroup(string name)
        {
            using var kill = Process.Start("/bin/kill", [$"-{name}", .. ProcessTree.Naming(Folder).Select(p => $"{p.Id}"), $"{Program.Id}"]);
            await kill.WaitForExitAsync();
        }
    }
}
