using System.Diagnostics;
using MLDistributed.Cli.Slurm;

namespace Cli.Tests.Slurm;

[TestClass]
public sealed class BatchScriptTests
{
    private static readonly BatchScript s_script = new() { Nodes = 4, Coordinator = new Uri("https://login:7443"), Mldist = ["/opt/mldist"], TokenFile = "/home/me/tokens" };

    [TestMethod]
    public void Write_Gpus_AreAskedForAndOffered()
    {
        var text = (s_script with { GpusPerNode = 8, CpusPerNode = 64, SbatchOptions = ["--time=4:00:00", "--partition=gpu"] }).Write();

        foreach (var line in new[] { "#SBATCH --nodes=4", "#SBATCH --ntasks-per-node=1", "#SBATCH --gpus-per-node=8", "#SBATCH --cpus-per-task=64", "#SBATCH --time=4:00:00", "#SBATCH --partition=gpu", "#SBATCH --signal=TERM@60" })
            CollectionAssert.Contains(text.Split('\n'), line);
        StringAssert.Contains(text, "worker /opt/mldist worker --device cuda --grace 25");
        Assert.DoesNotContain("--device cpu", text);
    }

    [TestMethod]
    public void Write_TheFirstLines_AreWhatSbatchReads()
    {
        var lines = s_script.Write().Split('\n');

        Assert.AreEqual("#!/bin/bash", lines[0]);
        // sbatch reads its options up to the first command.
        Assert.IsTrue(lines.SkipWhile(l => l.StartsWith('#')).All(l => !l.StartsWith("#SBATCH", StringComparison.Ordinal)));
        Assert.DoesNotContain('\r', s_script.Write());
    }

    [TestMethod]
    [DataRow("plain")]
    [DataRow("two words")]
    [DataRow("it's $HOME `id` \"x\" \\")]
    [DataRow("")]
    public async Task Quote_AnyWord_IsThatWordToTheShell(string word)
    {
        using var shell = Process.Start(new ProcessStartInfo("bash", ["-c", $"printf %s {BatchScript.Quote(word)}"]) { RedirectStandardOutput = true })!;

        Assert.AreEqual(word, await shell.StandardOutput.ReadToEndAsync());
    }

    [TestMethod]
    public async Task Write_OddPaths_AreStillAScript()
    {
        var text = (s_script with { TokenFile = "/home/o'neil/my tokens", Mldist = ["/opt/my tools/mldist"], WorkerOptions = ["--network", "ib0; rm -rf /"] }).Write();
        using var shell = Process.Start(new ProcessStartInfo("bash", ["-n"]) { RedirectStandardInput = true })!;
        await shell.StandardInput.WriteAsync(text);
        shell.StandardInput.Close();
        await shell.WaitForExitAsync();

        Assert.AreEqual(0, shell.ExitCode);
    }
}
