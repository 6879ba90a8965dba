using System.CommandLine;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>How a command reaches the coordinator.</summary>
internal sealed class ClusterOptions
{
    private readonly Option<string?> _coordinator = new("--coordinator") { Description = "https://host:port, http://host:port or unix:///path. Default: MLDIST_COORDINATOR.", HelpName = "URI" };
    private readonly Option<string?> _key = new("--api-key") { Description = "Default: MLDIST_API_KEY, which other users of this machine cannot see.", HelpName = "K" };
    private readonly Option<string?> _fingerprint = new("--fingerprint") { Description = "SHA-256 of the coordinator's certificate, when it is self-signed.", HelpName = "F" };

    public void AddTo(Command command)
    {
        command.Add(_coordinator);
        command.Add(_key);
        command.Add(_fingerprint);
    }

    public ClusterConnection Open(ParseResult parsed)
    {
        var address = parsed.GetValue(_coordinator) ?? Environment.GetEnvironmentVariable("MLDIST_COORDINATOR")
            ?? throw new CliException("No coordinator is named, expected --coordinator or MLDIST_COORDINATOR.", ExitCode.Usage);
        return ClusterConnection.Open(ParseAddress(address), parsed.GetValue(_key) ?? Environment.GetEnvironmentVariable("MLDIST_API_KEY"), parsed.GetValue(_fingerprint));
    }

    public static Uri ParseAddress(string address) =>
        Uri.TryCreate(address, UriKind.Absolute, out var uri) && (uri.Scheme is "https" or "http" or "unix")
            ? uri
            : throw new CliException($"Coordinator is \"{address}\", expected https://host:port, http://host:port or unix:///path/to/socket.", ExitCode.Usage);
}
