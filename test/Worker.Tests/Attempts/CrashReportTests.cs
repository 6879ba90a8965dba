using MLDistributed.Worker.Attempts;

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
        var failure = CrashReport.Describe(3, "box", exitCode, ["first", "last"]);
        StringAssert.Contains(failure.Message, $"Rank 3 on \"box\" {expected}");
        Assert.AreEqual(exitCode, failure.ExitCode);
        CollectionAssert.AreEqual(new[] { "first", "last" }, failure.LastWords);
    }

    [TestMethod]
    public void Describe_Sigkill_SuspectsMemory() =>
        StringAssert.Contains(CrashReport.Describe(0, "box", 137, []).Message, "out of memory");

    [TestMethod]
    public void Describe_OtherEnd_QuotesTheLastWord() =>
        StringAssert.EndsWith(CrashReport.Describe(0, "box", 134, ["a", "c10::Error"]).Message, "Its last words: c10::Error");
}
