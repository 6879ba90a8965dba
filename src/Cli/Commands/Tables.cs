using MLDistributed.Protocol;
using Spectre.Console;

namespace MLDistributed.Cli.Commands;

/// <summary>Tables as all commands print them; what is in them is never read as markup.</summary>
internal static class Tables
{
    private const int RedirectedWidth = 400;

    public static Table Create(params string[] headings)
    {
        // A line a row for programs that read it.
        if (Console.IsOutputRedirected)
            AnsiConsole.Profile.Width = RedirectedWidth;
        var table = new Table { Border = TableBorder.Simple };
        // Ids come first and are there to be copied: never broken.
        foreach (var (index, heading) in headings.Index())
            table.AddColumn(new TableColumn(new Text(heading, new Style(decoration: Decoration.Bold))) { NoWrap = index == 0 });
        return table;
    }

    public static Text[] Cells(params string[] values) => [.. values.Select(v => new Text(v))];
}

/// <summary>Words for what the protocol enumerates.</summary>
internal static class Words
{
    public static string Of(JobState state) => state.ToString().ToLowerInvariant();

    public static string Of(DeviceKind kind) => kind.ToString().ToLowerInvariant();

    public static string Count(int count, string noun) => count == 1 ? $"1 {noun}" : $"{count} {noun}s";

    public static bool IsLast(this JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;
}
