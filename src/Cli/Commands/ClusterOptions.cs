using System.CommandLine;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>How a command reaches the coordinator.</summary>
internal sealed class ClusterOptions
{
    private readonly Option<string?> _coordinator = new("--coordinator") { Description = "https://host:port, unix:///path or, on this machine, http://localhost:port. Default: MLDIST_COORDINATOR.", HelpName = "URI" };
    private readonly Option<string?> _key = new("--api-key") { Description = "Default: MLDIST_API_KEY, which other users of this machine cannot see.", HelpName = "K" };
    private readonly Option<string?> _fingerprint = new("--fingerprint") { Description = "SHA-256 of the coordinator's certificate, when it is self-signed.", HelpName = "F" };

    public void AddTo(Command command)
    {
        command.Add(_coordinator);
        command.Add(_key);
        command.Add(_fingerprint);
    }

    private ClusterConnection Open(ParseResult parsed)
    {
        var address = parsed.GetValue(_coordinator) ?? Environment.GetEnvironmentVariable("MLDIST_COORDINATOR")
            ?? throw new CliException("No coordinator is named, expected --coordinator or MLDIST_COORDINATOR.", ExitCode.Usage);
        return ClusterConnection.Open(ParseAddress(address), parsed.GetValue(_key) ?? Environment.GetEnvironmentVariable("MLDIST_API_KEY"), parsed.GetValue(_fingerprint));
    }

    /// <summary>Calls the coordinator; what the connection suffers becomes a sentence that names it.</summary>
    public async Task<T> CallAsync<T>(ParseResult parsed, Func<Jobs.JobsClient, Task<T>> call)
    {
        using var connection = Open(parsed);
        try
        {
            return await call(new Jobs.JobsClient(connection.Invoker)).ConfigureAwait(false);
        }
        catch (RpcException e)
        {
            throw new CliException(e.StatusCode switch
            {
                StatusCode.Unavailable => $"Coordinator \"{connection.Address}\" does not answer ({e.Status.Detail}), expected a running one. Check --coordinator or MLDIST_COORDINATOR.",
                StatusCode.Unauthenticated or StatusCode.PermissionDenied => $"Coordinator \"{connection.Address}\" refuses the key ({e.Status.Detail}), expected a valid one. Check --api-key or MLDIST_API_KEY.",
                StatusCode.Cancelled => "Cancelled.",
                _ => e.Status.Detail,
            });
        }
    }

    public static Uri ParseAddress(string address) =>
        Uri.TryCreate(address, UriKind.Absolute, out var uri) && (uri.Scheme is "https" or "http" or "unix")
            ? uri
            : throw new CliException($"Coordinator is \"{address}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port.", ExitCode.Usage);
}
