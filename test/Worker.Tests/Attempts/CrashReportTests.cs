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
        var failure = CrashReport.Describe(3, "box", new RankExit(exitCode, ["first", "last"]));
        StringAssert.Contains(failure.Message, $"Rank 3 on \"box\" {expected}");
        Assert.AreEqual(exitCode, failure.ExitCode);
        CollectionAssert.AreEqual(new[] { "first", "last" }, failure.LastWords);
    }

    [TestMethod]
    public void Describe_Sigkill_SuspectsMemory() =>
        StringAssert.Contains(CrashReport.Describe(0, "box", new RankExit(137, [])).Message, "out of memory");

    [TestMethod]
    public void Describe_OtherEnd_QuotesTheLastWord() =>
        StringAssert.EndsWith(CrashReport.Describe(0, "box", new RankExit(134, ["a", "c10::Error"])).Message, "Its last words: c10::Error");

    [TestMethod]
    public void Describe_KilledByTheAgent_SaysWhatFor() =>
        Assert.AreEqual("Rank 0 on \"box\" did not answer.", CrashReport.Describe(0, "box", new RankExit(137, ["a"], "did not answer.")).Message);
}
