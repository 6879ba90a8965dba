namespace MLDistributed.Cli;

/// <summary>Ends the command with one sentence on standard error.</summary>
internal sealed class CliException(string message, int exitCode = ExitCode.Failure) : Exception(message)
{
    public int Code { get; } = exitCode;
}

/// <summary>What scripts may rely on; docs/command-line.md and "mldist --help" list them.</summary>
internal static class ExitCode
{
    public const int Success = 0;
    public const int Failure = 1;
    public const int Usage = 2;
    public const int NoAccess = 3;
    public const int NotFound = 4;
    public const int Interrupted = 130; // 128 + SIGINT, as shells have it

    public static IReadOnlyList<(int Code, string Meaning)> All { get; } =
    [
        (Success, "Done."),
        (Failure, "It failed, or the job that was watched did not succeed."),
        (Usage, "The command line is wrong, or an id's first digits name several."),
        (NoAccess, "The coordinator cannot be reached, does not answer, or does not accept certificate, key or release."),
        (NotFound, "What was named is not there."),
        (Interrupted, "Ended by Ctrl-C or SIGTERM."),
    ];
}
