using System.CommandLine;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>How a command reaches the coordinator.</summary>
internal sealed class ClusterOptions
{
    private const int MaxTimeout = 86_400;
    private readonly Option<string?> _coordinator = Coordinator();
    private readonly Option<string?> _key = new("--api-key") { Description = $"Default: {ClusterVariables.ApiKey}, which other users of this machine cannot see.", HelpName = "K" };
    private readonly Option<string?> _fingerprint = Fingerprint();
    private readonly Option<double> _timeout = new("--timeout") { Description = "How many seconds the coordinator may leave a question without an answer.", DefaultValueFactory = _ => 10, HelpName = "s" };

    public static Option<string?> Coordinator() => new("--coordinator") { Description = $"https://host:port, unix:///path or, on this machine, http://localhost:port. Default: {ClusterVariables.Coordinator}.", HelpName = "URI" };

    public static Option<string?> Fingerprint() => new("--fingerprint") { Description = $"SHA-256 of the coordinator's certificate, when it is self-signed. Default: {ClusterVariables.Fingerprint}.", HelpName = "F" };

    /// <summary>The address that an option or the environment names.</summary>
    public static Uri AddressOf(ParseResult parsed, Option<string?> coordinator) => ParseAddress(
        parsed.GetValue(coordinator) ?? ClusterVariables.Read(ClusterVariables.Coordinator)
        ?? throw new CliException($"No coordinator is named, expected --coordinator or {ClusterVariables.Coordinator}, as in \"--coordinator https://host:7443\".", ExitCode.Usage));

    public static string? FingerprintOf(ParseResult parsed, Option<string?> fingerprint) => parsed.GetValue(fingerprint) ?? ClusterVariables.Read(ClusterVariables.Fingerprint);

    /// <param name="command">What asks the coordinator.</param>
    /// <param name="isRecursive">Whether the commands below it take them too.</param>
    public void AddTo(Command command, bool isRecursive = false)
    {
        foreach (var option in (Option[])[_coordinator, _key, _fingerprint, _timeout])
        {
            option.Recursive = isRecursive;
            command.Add(option);
        }
    }

    private ClusterConnection Open(ParseResult parsed)
    {
        try
        {
            return ClusterConnection.Open(AddressOf(parsed, _coordinator), parsed.GetValue(_key) ?? ClusterVariables.Read(ClusterVariables.ApiKey), FingerprintOf(parsed, _fingerprint));
        }
        catch (ArgumentException e)
        {
            throw new CliException(e.Message, ExitCode.Usage);
        }
    }

    /// <summary>Calls the coordinator; what the connection suffers becomes a sentence that names it.</summary>
    public async Task<T> CallAsync<T>(ParseResult parsed, Func<CoordinatorClients, Task<T>> call, CancellationToken cancellation)
    {
        var timeout = parsed.GetValue(_timeout);
        if (timeout is not (>= 0.1 and <= MaxTimeout))
            throw new CliException($"--timeout is {timeout}, expected 0.1 to {MaxTimeout:N0} seconds.", ExitCode.Usage);
        using var connection = Open(parsed);
        try
        {
            return await call(new CoordinatorClients(connection, TimeSpan.FromSeconds(timeout))).ConfigureAwait(false);
        }
        catch (Exception e) when (cancellation.IsCancellationRequested && e is RpcException or OperationCanceledException)
        {
            throw new OperationCanceledException(e.Message, e, cancellation);
        }
        catch (OperationCanceledException e)
        {
            // Nobody interrupted it: the connection went.
            throw new CliException($"Coordinator \"{connection.Address}\" broke off: {e.Message} Try again, and check that it runs.", ExitCode.NoAccess);
        }
        catch (RpcException e)
        {
            throw new CliException(CliErrors.Explain(e, connection.Address), CliErrors.CodeOf(e));
        }
    }

    private static Uri ParseAddress(string address) =>
        Uri.TryCreate(address, UriKind.Absolute, out var uri) && (uri.Scheme is "https" or "http" or "unix")
            ? uri
            : throw new CliException($"Coordinator is \"{address}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port.", ExitCode.Usage);
}
