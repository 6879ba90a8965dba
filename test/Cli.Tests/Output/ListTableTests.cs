using MLDistributed.Cli.Output;
using Spectre.Console;

namespace Cli.Tests.Output;

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
    public void Write_TextThatDoesNotFit_EndsInAnEllipsis() => Assert.AreEqual(
        """
        Job   State    Why
        aaaa  running  waits for two ranks of c…
        bb    queued   waits

        """.ReplaceLineEndings(),
        Written(41, ["aaaa", "running", "", "waits for two ranks of cpu on one worker"], ["bb", "queued", "", "waits"]));

    [TestMethod]
    public void Write_SeveralWideColumns_GiveWayTheWidestFirst() => Assert.AreEqual(
        """
        Job   State       Loss  Why
        aaaa  running, …  0.25  waits for…

        """.ReplaceLineEndings(),
        Written(35, ["aaaa", "running, attempt 2", "0.25", "waits for two ranks of cpu"]));

    [TestMethod]
    public void Write_WithoutRoomForAll_KeepsTheIds() => StringAssert.Contains(
        Written(30, ["aaaaaaaaaaaa", "running", "0.25", "waits for two ranks of cpu"]),
        "aaaaaaaaaaaa  run…  0.25  wa…");

    [TestMethod]
    [DataRow(1)]
    [DataRow(7)]
    [DataRow(20)]
    [DataRow(79)]
    public void Write_AnyWidth_IsNeverExceeded(int width)
    {
        var lines = Written(width, ["aaaaaaaaaaaa", "running", "0.1", new string('x', 200)], ["界界界", "a\u0301a\u0301", "👩‍🔬", string.Concat(Enumerable.Repeat("東京", 50))])
            .Split(Environment.NewLine, StringSplitOptions.RemoveEmptyEntries);

        // Four columns of one and the gaps between them are the least.
        foreach (var line in lines)
            Assert.IsLessThanOrEqualTo(Math.Max(width - 1, 10), line.GetCellWidth(), line);
        Assert.HasCount(3, lines);
    }

    [TestMethod]
    public void Truncate_CharactersOfTwoUnits_AreNotCutInHalf()
    {
        Assert.AreEqual("😀😀…", ListTable.Truncate("😀😀😀", 5));
        Assert.AreEqual("😀…", ListTable.Truncate("😀😀😀", 4));
        Assert.AreEqual("e\u0301…", ListTable.Truncate("e\u0301e\u0301e\u0301", 2));
    }

    [TestMethod]
    public void Write_ToAFile_IsWhole()
    {
        var text = new string('x', 500);

        StringAssert.Contains(Written(null, ["a", "b", "c", text]), text);
    }

    [TestMethod]
    public void Write_ControlAndBidiCharactersInNames_AreVisible() =>
        StringAssert.Contains(Written(80, ["a", "b", "c", "evil\r\n\e[2Jname\u202Egpj"]), @"evil\r\n\e[2Jname\u202Egpj" + Environment.NewLine);

    [TestMethod]
    public void Write_StatesInColour_TakeNoMoreRoom()
    {
        var table = new ListTable("State", "Why");
        table.Add("failed", "because");
        using var output = new StringWriter();

        table.Write(output, 80, isColored: true);

        Assert.AreEqual($"State   Why{Environment.NewLine}\e[31mfailed\e[39m  because{Environment.NewLine}", output.ToString());
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
