using System.CommandLine;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>Where a worker's join token comes from: the environment, a file or standard input, none of which other users can see.</summary>
internal static class JoinToken
{
    private const int MaxLength = 200;
    private const string StandardInput = "-";

    public static Option<string?> File() => new("--token-file")
    {
        Description = $"A file with a join token, for the first start on a work folder, or - for standard input: \"mldist tokens create\" makes one. Default: {ClusterVariables.JoinToken}.",
        HelpName = "FILE",
    };

    public static Option<string?> Argument() => new("--token") { Description = "Deprecated, as all users of this machine can read it: use --token-file.", HelpName = "T", Hidden = true };

    /// <summary>The token; null when none is given, as on a later start.</summary>
    /// <exception cref="CliException">The file cannot be read, or has no token.</exception>
    public static string? Read(ParseResult parsed, Option<string?> file, Option<string?> argument, bool isInputTaken)
    {
        if (parsed.GetValue(argument) is { } visible)
        {
            Console.Error.WriteLine($"--token is deprecated: all users of this machine can read the arguments of its processes. Set {ClusterVariables.JoinToken}, or use --token-file.");
            return visible;
        }

        if (parsed.GetValue(file) is not { } path)
            return FromEnvironment();
        if (path == StandardInput && isInputTaken)
            throw new CliException($"--token-file is {StandardInput}, expected a file: --lifeline has standard input.", ExitCode.Usage);
        try
        {
            using var reader = path == StandardInput ? Console.In : System.IO.File.OpenText(path);
            var buffer = new char[MaxLength + 1];
            var text = new string(buffer, 0, reader.ReadBlock(buffer, 0, buffer.Length)).Trim();
            return text.Length is > 0 and <= MaxLength && text.All(c => c is > ' ' and <= '~')
                ? text
                : throw new CliException($"--token-file \"{path}\" has no join token, expected one line as \"mldist tokens create\" prints it.", ExitCode.Usage);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            throw new CliException($"--token-file \"{path}\" cannot be read ({e.Message.TrimEnd('.')}), expected a file with a join token.", ExitCode.Usage);
        }
    }

    // Rank processes get this one's environment, and need no token.
    private static string? FromEnvironment()
    {
        var token = ClusterVariables.Read(ClusterVariables.JoinToken);
        Environment.SetEnvironmentVariable(ClusterVariables.JoinToken, null);
        return token;
    }
}
