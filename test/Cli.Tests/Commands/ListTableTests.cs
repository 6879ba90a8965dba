using MLDistributed.Cli.Commands;

namespace Cli.Tests.Commands;

[TestClass]
public sealed class ListTableTests
{
    [TestMethod]
    public void Write_WhereAllFits_IsALineARow() => Assert.AreEqual(
        """
        Job   State    Why
        aaaa  running  on "vm"
        bb    queued   waits

        """.ReplaceLineEndings(),
        Written(80, ["aaaa", "running", "", "on \"vm\""], ["bb", "queued", "", "waits"]));

    [TestMethod]
    public void Write_LongTextWithRoom_HangsInItsColumn() => Assert.AreEqual(
        """
        Job   State    Why
        aaaa  running  waits for two ranks of
                       cpu on one worker

        """.ReplaceLineEndings(),
        Written(40, ["aaaa", "running", "", "waits for two ranks of cpu on one worker"]));

    [TestMethod]
    public void Write_LongTextWithoutRoom_GoesBelowItsRow() => Assert.AreEqual(
        """
        Job         State    Loss
        aaaaaaaaaa  running  0.25
            waits for two ranks of cpu on one
            worker
        bbbbbbbbbb  queued   0.5

        """.ReplaceLineEndings(),
        Written(40, ["aaaaaaaaaa", "running", "0.25", "waits for two ranks of cpu on one worker"], ["bbbbbbbbbb", "queued", "0.5", ""]));

    [TestMethod]
    public void Write_ToAFile_NeverWraps()
    {
        var text = new string('x', 500);

        StringAssert.Contains(Written(null, ["a", "b", "c", text]), text);
    }

    [TestMethod]
    public void Write_ControlCharactersInNames_AreBlanks()
    {
        var written = Written(80, ["a", "b", "c", "evil\r\n\e[2Jname"]);

        Assert.DoesNotContain("\e", written);
        Assert.HasCount(3, written.Split(Environment.NewLine));
    }

    [TestMethod]
    public void Write_NoRows_IsNothing() => Assert.AreEqual("", Written(80));

    private static string Written(int? width, params string[][] rows)
    {
        var table = new ListTable("Job", "State", "Loss", "Why");
        foreach (var row in rows)
            table.Add(row);
        using var output = new StringWriter();
        table.Write(output, width);
        return output.ToString();
    }
}
