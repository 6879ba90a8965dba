using MLDistributed.Cli;
using MLDistributed.Cli.Commands;

namespace Cli.Tests.Commands;

[TestClass]
public sealed class JobIdsTests
{
    private static readonly string[] s_ids = ["ab120000", "ab129999", "cd340000"];

    [TestMethod]
    [DataRow("cd34", "cd340000")]
    [DataRow("CD34", "cd340000")]
    [DataRow("ab129", "ab129999")]
    [DataRow("ffff", "ffff")]
    public void Complete_FirstDigits_AreTheOneThatBeginsSo(string start, string expected) =>
        Assert.AreEqual(expected, JobIds.Complete(start, s_ids));

    [TestMethod]
    public void Complete_FirstDigitsOfTwo_NamesBoth()
    {
        var e = Assert.ThrowsExactly<CliException>(() => JobIds.Complete("ab12", s_ids));

        Assert.AreEqual(ExitCode.Usage, e.Code);
        StringAssert.Contains(e.Message, "ab120000, ab129999");
    }
}
