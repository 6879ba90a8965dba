using System.Diagnostics;
using MLDistributed.Training.Native;

namespace Training.Tests.Native;

/// <summary>A libtorch that this product did not bring, in a process of its own.</summary>
[TestClass]
public sealed class ForeignLibtorchTests
{
    private const string Debian = "/usr/lib/python3/dist-packages/torch";

    // As a Python install has it: in a folder lib of a folder with the version.
    [TestMethod]
    public void Load_OfTheSameRelease_TrainsOnIt()
    {
        using var folder = new TempFolder();
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("libtorch is a folder of ELF files on Linux only.");
        var torch = Python(folder, "2.10.0+cu128", LibtorchFolder.Find()!);
        var (words, code) = Run(folder, torch);
        Assert.AreEqual(0, code, words);
        StringAssert.Contains(words, $"trained on {torch}/lib");
    }

    [TestMethod]
    public void Load_OfAnotherRelease_SaysWhatIsMissing()
    {
        using var folder = new TempFolder();
        if (!File.Exists($"{Debian}/lib/libtorch_cpu.so"))
            Assert.Inconclusive("Debian's python3-torch, of an old release, is not installed.");
        var (words, code) = Run(folder, Debian);
        Assert.AreEqual(1, code, words);
        StringAssert.StartsWith(words, $"MLDIST_LIBTORCH is \"{Debian}/lib\" (PyTorch 1.13.");
        StringAssert.Contains(words, " functions that TorchSharp calls (such as _Z");
        StringAssert.Contains(words, "), expected libtorch 2.10.0. Install that release (pip install torch==2.10.0)");
    }

    [TestMethod]
    public void Load_PartThatIsDamaged_NamesIt()
    {
        using var folder = new TempFolder();
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("libtorch is a folder of ELF files on Linux only.");
        var torch = Python(folder, "2.10.0", LibtorchFolder.Find()!);
        File.Delete($"{torch}/lib/libc10.so");
        File.WriteAllText($"{torch}/lib/libc10.so", "no library");
        var (words, code) = Run(folder, torch);
        Assert.AreEqual(1, code, words);
        StringAssert.Contains(words, $"MLDIST_LIBTORCH is \"{torch}/lib\" (PyTorch 2.10.0), whose libc10.so cannot be loaded (");
    }

    // Its CUDA part is loaded by hand, and why that failed is what a job for a GPU says.
    [TestMethod]
    public void Load_CudaPartThatCannotBe_IsWhyThereIsNoDevice()
    {
        using var folder = new TempFolder();
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("libtorch is a folder of ELF files on Linux only.");
        var torch = Python(folder, "2.10.0+cu128", LibtorchFolder.Find()!);
        File.WriteAllText($"{torch}/lib/libtorch_cuda.so", "no library");
        var (words, code) = Run(folder, torch, "cuda");
        Assert.AreEqual(1, code, words);
        StringAssert.Contains(words, "Device \"cuda:0\" is not there: libtorch sees 0 CUDA devices, expected at least 1. Its CUDA part could not be loaded: ");
        StringAssert.Contains(words, "libtorch_cuda.so");
    }

    [TestMethod]
    public void Needed_OfBytesThatAreNoLibrary_Throws()
    {
        Assert.ThrowsExactly<FormatException>(() => ElfSymbols.Needed(new byte[100]));
        if (OperatingSystem.IsLinux())
            Assert.ThrowsExactly<FormatException>(() => ElfSymbols.Needed(File.ReadAllBytes(NativeLoading.FindFile()!).AsSpan(..4096)));
    }

    /// <summary>What the process does: trains a little, and says on what.</summary>
    public static int Train(string folder, bool onCuda)
    {
        try
        {
            Datasets.WriteClouds(Path.Combine(folder, "data"), 64);
            var run = Loop.Cluster.Train(Loop.Cluster.Spec(), 1, Path.Combine(folder, "data"), device: onCuda ? MLDistributed.Protocol.DeviceKind.Cuda : MLDistributed.Protocol.DeviceKind.Cpu);
            if (run.Failures[0] is { } failure)
                throw failure;
            Console.WriteLine($"trained on {LibtorchFolder.Find()}");
            return 0;
        }
        catch (Exception e)
        {
            Console.WriteLine(e.GetBaseException().Message);
            return 1;
        }
    }

    private static string Python(TempFolder folder, string version, string libtorch)
    {
        var torch = Directory.CreateDirectory(folder["torch"]).FullName;
        File.WriteAllText(Path.Combine(torch, "version.py"), $"__all__ = ['__version__', 'debug', 'cuda']\n__version__ = '{version}'\n");
        Directory.CreateDirectory(Path.Combine(torch, "lib"));
        foreach (var file in Directory.EnumerateFiles(libtorch))
            File.CreateSymbolicLink(Path.Combine(torch, "lib", Path.GetFileName(file)), file);
        return torch;
    }

    private static (string Words, int Code) Run(TempFolder folder, string libtorch, string device = "cpu")
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["libtorch", folder[""], device]) { RedirectStandardOutput = true };
        start.Environment[LibtorchFolder.Variable] = libtorch;
        using var process = Process.Start(start)!;
        var words = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(Loop.Cluster.Bound))
        {
            process.Kill();
            Assert.Fail("It hangs.");
        }

        return (words.GetAwaiter().GetResult(), process.ExitCode);
    }
}
