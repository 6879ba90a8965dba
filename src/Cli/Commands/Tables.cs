using MLDistributed.Protocol;
using Spectre.Console;

namespace MLDistributed.Cli.Commands;

/// <summary>Tables as all commands print them; what is in them is never read as markup.</summary>
internal static class Tables
{
    public static Table Create(params string[] headings)
    {
        var table = new Table { Border = TableBorder.Simple };
        foreach (var heading in headings)
            table.AddColumn(new TableColumn(new Text(heading, new Style(decoration: Decoration.Bold))));
        return table;
    }

    public static Text[] Cells(params string[] values) => [.. values.Select(v => new Text(v))];
}

/// <summary>Words for what the protocol enumerates.</summary>
internal static class Words
{
    public static string Of(JobState state) => state.ToString().ToLowerInvariant();

    public static string Of(DeviceKind kind) => kind.ToString().ToLowerInvariant();

    public static bool IsLast(this JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;
}
