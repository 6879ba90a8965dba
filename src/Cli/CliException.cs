namespace MLDistributed.Cli;

/// <summary>Ends the command with one sentence on standard error.</summary>
internal sealed class CliException(string message, int exitCode = ExitCode.Failure) : Exception(message)
{
    public int Code { get; } = exitCode;
}

internal static class ExitCode
{
    public const int Success = 0;
    public const int Failure = 1;
    public const int Usage = 2;
    public const int Interrupted = 130; // 128 + SIGINT, as shells have it
}
