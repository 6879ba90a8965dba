namespace MLDistributed.Cli.Output;

/// <summary>Where output goes.</summary>
internal static class Terminal
{
    private const int ShortIdLength = 12;

    private static TextWriter s_raw = Console.Out;

    /// <summary>Has all that is written to standard output and error from now on visible.</summary>
    public static void ShowVisibly()
    {
        s_raw = Console.Out;
        Console.SetOut(new VisibleWriter(Console.Out));
        Console.SetError(new VisibleWriter(Console.Error));
    }

    /// <summary>Draws, which takes sequences that are no text: what is drawn must have been made visible.</summary>
    public static async Task<T> DrawAsync<T>(Func<Task<T>> draw)
    {
        var visible = Console.Out;
        Console.SetOut(s_raw);
        try
        {
            return await draw().ConfigureAwait(false);
        }
        finally
        {
            Console.SetOut(visible);
        }
    }

    /// <summary>Its columns; null when output goes to a file or a program.</summary>
    public static int? Width => Console.IsOutputRedirected ? null : Columns();

    /// <summary>Whether words may be coloured: on a terminal that can, unless NO_COLOR (no-color.org) is set.</summary>
    public static bool HasColors => !Console.IsOutputRedirected
        && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"))
        && Environment.GetEnvironmentVariable("TERM") is not (null or "" or "dumb");

    /// <summary>Enough of an id for a person; commands take that much of it.</summary>
    public static string Id(string id) => Console.IsOutputRedirected || id.Length <= ShortIdLength ? id : id[..ShortIdLength];

    private static int Columns()
    {
        try
        {
            return Console.WindowWidth is > 0 and var width ? width : 80;
        }
        catch (IOException)
        {
            return 80;
        }
    }
}
