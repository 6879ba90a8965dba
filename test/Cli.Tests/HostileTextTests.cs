using System.CommandLine;
using System.Text.Json;
using Cli.Tests.Servers;
using MLDistributed.Cli.Commands;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace Cli.Tests;

/// <summary>Text from a coordinator draws nothing, whatever command shows it: those that there are, and those to come.</summary>
[TestClass]
public sealed class HostileTextTests
{
    private static readonly string s_job = new('a', 32);

    public static IEnumerable<object[]> Commands =>
        from command in Leaves(CommandTree.Create(), [])
        from refuses in new[] { false, true }
        select new object[] { command, refuses };

    [TestMethod]
    [DynamicData(nameof(Commands))]
    public async Task Mldist_CommandThatAsksACoordinator_WritesNothingThatHidesOrForges(string command, bool refuses)
    {
        await using var coordinator = await HostileCoordinator.StartAsync(refuses: refuses);

        var (_, output, error) = await Mldist.RunAsync([.. command.Split(' '), "--coordinator", coordinator.Address]);

        Assert.IsGreaterThan(0, output.Length + error.Length, command);
        foreach (var line in (output + "\n" + error).Split('\n'))
        {
            Assert.AreEqual(VisibleText.Of(line), line, command);
            Assert.IsFalse(line.StartsWith("FORGED", StringComparison.Ordinal), command);
        }

        // To programs the data is what it is. Of data sets there is no text but ids.
        if (command.Contains("--json", StringComparison.Ordinal) && !command.StartsWith("datasets", StringComparison.Ordinal) && !command.Contains("--follow", StringComparison.Ordinal) && !command.Contains("watch", StringComparison.Ordinal) && output.Length > 0)
            Assert.Contains(HostileCoordinator.Text, Strings(JsonDocument.Parse(output).RootElement).ToList());
    }

    [TestMethod]
    public void Commands_ThatAskACoordinator_AreAllHere() => Assert.IsGreaterThan(15, Commands.Count());

    [TestMethod]
    [DataRow("plain", "plain")]
    [DataRow("two\nlines\r\n", "two\nlines\r\n")]
    [DataRow("\e[32mgreen\e[39m", "\e[32mgreen\e[39m")]
    [DataRow("\e[2Jaway\e]0;title\a\e[1A\e[", @"\e[2Jaway\e]0;title\u0007\e[1A\e[")]
    [DataRow("\u202Eback 😀 é\r", @"\u202Eback 😀 é\r")]
    public void Write_AnyText_ShowsWhatHidesButLinesAndColours(string text, string expected)
    {
        using var whole = new StringWriter();
        using var single = new StringWriter();
        using (var writer = new VisibleWriter(whole))
            writer.Write(text);
        Assert.AreEqual(expected, whole.ToString());
        if (text.Contains('\e', StringComparison.Ordinal) || text.Contains('\r', StringComparison.Ordinal))
            return; // a sequence in pieces is none

        using (var writer = new VisibleWriter(single))
            foreach (var character in text)
                writer.Write(character);
        Assert.AreEqual(expected, single.ToString());
    }

    // Every command that takes --coordinator and ends, with each of its forms.
    private static IEnumerable<string> Leaves(Command command, IReadOnlyList<Option> inherited)
    {
        var options = inherited.Where(o => o.Recursive).Concat(command.Options).ToList();
        if (command.Action is not null && command is not ServiceCommand && options.Exists(o => o.Name == "--coordinator"))
        {
            var line = string.Join(' ', command.Parents.OfType<Command>().Where(p => p is not RootCommand).Select(p => p.Name).Append(command.Name).Concat(command.Arguments.Select(_ => s_job)));
            yield return line;
            foreach (var form in options.Select(o => o.Name).Intersect(["--json", "--follow"]))
                yield return $"{line} {form}";
        }

        foreach (var below in command.Subcommands.SelectMany(c => Leaves(c, options)))
            yield return below;
    }

    private static IEnumerable<string> Strings(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.String => [element.GetString()!],
        JsonValueKind.Array => element.EnumerateArray().SelectMany(Strings),
        JsonValueKind.Object => element.EnumerateObject().SelectMany(p => Strings(p.Value)),
        _ => [],
    };
}
