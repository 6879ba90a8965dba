using MLDistributed.Cli;
using MLDistributed.Cli.Commands;

namespace Cli.Tests.Commands;

[TestClass]
public sealed class IdsTests
{
    private static readonly string[] s_ids = ["ab120000", "ab129999", "cd340000"];

    [TestMethod]
    [DataRow("c", "cd340000")]
    [DataRow("cd34", "cd340000")]
    [DataRow("CD34", "cd340000")]
    [DataRow(" cd34 ", "cd340000")]
    [DataRow("ab129", "ab129999")]
    [DataRow("ab129999", "ab129999")]
    public void Complete_FirstDigits_AreTheOneThatBeginsSo(string start, string expected) =>
        Assert.AreEqual(expected, Ids.Complete("Job", start, s_ids, "that is"));

    [TestMethod]
    [DataRow("a")]
    [DataRow("ab12")]
    public void Complete_FirstDigitsOfTwo_NamesBoth(string start)
    {
        var e = Assert.ThrowsExactly<CliException>(() => Ids.Complete("Job", start, s_ids, "that is"));

        Assert.AreEqual((ExitCode.Usage, $"Job \"{start}\" is the beginning of several, expected more digits of one: ab120000, ab129999."), (e.Code, e.Message));
    }

    [TestMethod]
    public void Complete_WholeIdThatBeginsAnother_IsItself() => Assert.AreEqual("ab", Ids.Complete("Job", "ab", ["abc", "ab"], "that is"));

    [TestMethod]
    public void Complete_NoOnesDigits_AreNotFound()
    {
        var e = Assert.ThrowsExactly<CliException>(() => Ids.Complete("Job", "ffff", s_ids, "that \"mldist jobs\" shows"));

        Assert.AreEqual((ExitCode.NotFound, "Job \"ffff\" is unknown, expected an id, or its first digits, that \"mldist jobs\" shows."), (e.Code, e.Message));
    }

    [TestMethod]
    [DataRow("")]
    [DataRow(" ")]
    public void Complete_EmptyVariableOfAScript_IsNotTheOnlyOne(string start)
    {
        var e = Assert.ThrowsExactly<CliException>(() => Ids.Complete("Job", start, ["ab12"], "that is"));

        Assert.AreEqual(ExitCode.Usage, e.Code);
    }
}
