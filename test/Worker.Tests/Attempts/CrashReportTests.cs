using MLDistributed.Protocol;
using MLDistributed.Worker.Attempts;
using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Attempts;

[TestClass]
public sealed class CrashReportTests
{
    [TestMethod]
    [DataRow(137, "was killed by signal 9 (SIGKILL)")]
    [DataRow(139, "was killed by signal 11 (SIGSEGV)")]
    [DataRow(134, "was killed by signal 6 (SIGABRT)")]
    [DataRow(1, "ended with exit code 1")]
    [DataRow(255, "ended with exit code 255")]
    public void Describe_ExitCode_IsPutInWords(int exitCode, string expected)
    {
        var failure = CrashReport.Describe(3, "box", new RankExit(exitCode, ["first", "last"]), step: 7);
        StringAssert.Contains(failure.Message, $"Rank 3 on \"box\" {expected}");
        Assert.AreEqual(exitCode, failure.ExitCode);
        Assert.AreEqual(7, failure.Step);
        CollectionAssert.AreEqual(new[] { "first", "last" }, failure.LastWords);
    }

    [TestMethod]
    public void Describe_Sigkill_SuspectsMemory() =>
        StringAssert.Contains(CrashReport.Describe(0, "box", new RankExit(137, []), step: 7).Message, "out of memory");

    [TestMethod]
    public void Describe_OtherEnd_QuotesTheLastWord() =>
        StringAssert.EndsWith(CrashReport.Describe(0, "box", new RankExit(134, ["a", "c10::Error"]), step: 7).Message, "Its last words: c10::Error");

    [TestMethod]
    public void Describe_NativeStack_LeavesItToTheLog()
    {
        string[] words =
        [
            "terminate called after throwing an instance of 'c10::Error'",
            "  what():  [enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 2199023255552 bytes. Error code 12 (Cannot allocate memory)",
            "Exception raised from alloc_cpu at alloc_cpu.cpp:119 (most recent call first):",
            "frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x96 (0x7f in libc10.so)",
        ];
        var failure = CrashReport.Describe(0, "box", new RankExit(134, words), step: 7);
        StringAssert.EndsWith(failure.Message, "It ran out of memory (libtorch could not allocate 2,048.0 GiB at once): take a smaller batch or model, or fewer slots.");
        CollectionAssert.AreEqual(words[..2], failure.LastWords);
    }

    [TestMethod]
    public void Describe_OtherNativeError_QuotesItsSentence()
    {
        string[] words = ["terminate called", "  what():  [enforce fail at shape.cpp:7] a == b. 3 vs 4", "frame #0: main"];
        StringAssert.EndsWith(CrashReport.Describe(0, "box", new RankExit(134, words), step: 7).Message, "Its last words: 3 vs 4");
    }

    // libtorch writes down the code, and who called it, behind the reason.
    [TestMethod]
    public void Describe_ErrorInAScriptWithMuchBehindIt_NamesItsReason()
    {
        var words = new LastWords();
        foreach (var line in (string[])["loading", "terminate called after throwing an instance of 'torch::jit::ErrorReport'", "  what():  ", "Unknown builtin op: torchvision::nms.", .. Enumerable.Range(0, 60).Select(i => $"  line {i} of the code")])
            words.Add(line);

        var told = words.ToList();
        Assert.HasCount(30, told);
        Assert.AreEqual("  line 59 of the code", told[^1]);
        var failure = CrashReport.Describe(0, "box", new RankExit(134, told), step: 0, "detector.pt");
        StringAssert.StartsWith(failure.Message, "TorchScript file \"detector.pt\" could not be loaded: Unknown builtin op: torchvision::nms, expected");
        Assert.AreEqual(FailureKind.Training, failure.Kind);
    }

    [TestMethod]
    public void Describe_ErrorInAScript_NamesItsFileAndIsNotTriedAgain()
    {
        string[] words = ["terminate called after throwing an instance of 'torch::jit::ErrorReport'", "  what():  ", "Unknown builtin op: aten::of_the_future.", "Could not find any similar ops."];
        var failure = CrashReport.Describe(0, "box", new RankExit(134, words), step: 0, "net.pt");
        StringAssert.StartsWith(failure.Message, "TorchScript file \"net.pt\" could not be loaded: Unknown builtin op: aten::of_the_future, expected a module that libtorch 2.10");
        Assert.AreEqual(FailureKind.Training, failure.Kind);
        Assert.AreEqual(FailureKind.Crashed, CrashReport.Describe(0, "box", new RankExit(134, ["c10::Error"]), step: 3, "net.pt").Kind);
    }

    [TestMethod]
    public void Describe_KilledByTheAgent_SaysWhatFor() =>
        Assert.AreEqual("Rank 0 on \"box\" did not answer.", CrashReport.Describe(0, "box", new RankExit(137, ["a"], "did not answer."), step: 7).Message);
}
