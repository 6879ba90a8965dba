namespace MLDistributed.Cli.Output;

/// <summary>The colours of states, of jobs and of workers.</summary>
internal static class StateColors
{
    private const string Green = "\e[32m";
    private const string Red = "\e[31m";
    private const string Yellow = "\e[33m";
    private const string Cyan = "\e[36m";
    private const string Default = "\e[39m";

    /// <summary>A text that begins with a state's word, in that state's colour.</summary>
    public static string Paint(string text) => text.Split(' ', ',', ':')[0] switch
    {
        "succeeded" or "ready" => Green + text + Default,
        "failed" or "lost" or "broken" => Red + text + Default,
        "queued" or "placing" or "recovering" => Yellow + text + Default,
        "running" or "busy" => Cyan + text + Default,
        _ => text,
    };
}
