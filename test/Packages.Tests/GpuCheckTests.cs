using System.Diagnostics;

namespace Packages.Tests;

/// <summary>The script for machines with a GPU, on one without.</summary>
[TestClass]
public sealed class GpuCheckTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(3);

    [TestMethod]
    public void GpuCheck_OnACpu_PrintsOneTableInWhichNothingFailed()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("The script is for Linux.");
        var (table, code) = Run("--device", "cpu", "--seconds", "0.3", "tiny");
        Assert.AreEqual(0, code, table);
        StringAssert.StartsWith(table[table.IndexOf('|')..], "| check | precision | ours | PyTorch eager | ours / PyTorch | peak memory, ours | PyTorch |");
        foreach (var precision in (string[])["Float32", "TensorFloat32", "BFloat16"])
        {
            StringAssert.Contains(table, $"| tiny: samples/s, 32 rows a step | {precision} | ");
            StringAssert.Contains(table, $"| tiny: 30 losses beside the CPU's | {precision} | within ");
        }

        StringAssert.Contains(table, "| tiny: killed, goes on from its checkpoint | Float32 | from step ");
    }

    // What is left of the table where there is no GPU.
    [TestMethod]
    public void GpuCheck_WithoutAGpu_SaysSoInTheTable()
    {
        if (!OperatingSystem.IsLinux() || File.Exists("/dev/nvidia0"))
            Assert.Inconclusive("The script is for Linux, and here for a machine without a GPU.");
        var (table, code) = Run("--device", "cuda", "--seconds", "0.3", "tiny");
        Assert.AreEqual(1, code, table);
        StringAssert.Contains(table, "| devices, by NVML |  | **failed**: NVML lists none |");
        StringAssert.Contains(table, "| tiny: samples/s, 32 rows a step | Float32 | **failed**: ");
    }

    private static (string Table, int Code) Run(params string[] arguments)
    {
        var start = new ProcessStartInfo(Path.Combine(Feed.Repository, "eng", "gpu-check.sh"), arguments) { RedirectStandardOutput = true };
        start.Environment["GPU_CHECK_PROGRAM"] = Path.Combine(Feed.Repository, "artifacts", "bin", "MLDistributed.Engine.Bench", new DirectoryInfo(AppContext.BaseDirectory).Name, "MLDistributed.Engine.Bench");
        using var process = Process.Start(start)!;
        var table = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(s_limit))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail("It hangs.");
        }

        return (table.GetAwaiter().GetResult(), process.ExitCode);
    }
}
