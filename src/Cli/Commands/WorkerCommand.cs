using System.CommandLine;
using MLDistributed.Cli.Hosting;
using MLDistributed.Protocol;
using MLDistributed.Worker;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist worker</summary>
internal sealed class WorkerCommand : ServiceCommand
{
    private readonly Option<string?> _coordinator = ClusterOptions.Coordinator();
    private readonly Option<string?> _tokenFile = JoinToken.File();
    private readonly Option<string?> _token = JoinToken.Argument();
    private readonly Option<string?> _fingerprint = ClusterOptions.Fingerprint();
    private readonly Option<string?> _work = new("--work") { Description = "Folder of the credential, cached datasets and running attempts.", HelpName = "D" };
    private readonly Option<int?> _slots = new("--slots") { Description = "Rank processes on the CPU. Default: one a core.", HelpName = "n" };
    private readonly Option<string> _device = new("--device") { Description = "What to offer. auto: CUDA devices where they can be used, else the CPU.", DefaultValueFactory = _ => "auto" };
    private readonly Option<string> _name = new("--name") { Description = "The name of this machine.", HelpName = "host", DefaultValueFactory = _ => Environment.MachineName };
    private readonly Option<double> _grace = new("--grace") { Description = "Told to leave (SIGTERM, Ctrl-C), take no more jobs and stay for so many seconds at most, until those that run have stored a checkpoint. 0: leave at once.", HelpName = "s" };
    private readonly Option<string?> _network = new("--network") { Description = "Interface, or range of addresses, on which its ranks meet those of other workers, unencrypted (MPI), and workers give one another a job's data, over TLS. Default: neither.", HelpName = "eth1|CIDR" };
    private readonly Option<string?> _networkPorts = new("--network-ports") { Description = "Ports there for MPI and data (TCP) and heartbeats (UDP). Default: 7300-7399.", HelpName = "first-last" };
    private readonly Option<string?> _run = RunDirectory();
    private readonly Option<bool> _lifeline = Lifeline();

    public WorkerCommand() : base("worker", "Run a worker: it offers this machine's cores or GPUs to a coordinator.")
    {
        _device.AcceptOnlyFromAmong("cpu", "cuda", "auto");
        foreach (var option in (Option[])[_coordinator, _tokenFile, _token, _fingerprint, _work, _slots, _device, _name, _network, _networkPorts, _grace, _run, _lifeline])
            Add(option);
        SetAction((parsed, _) => RunAsync(parsed));
    }

    private async Task<int> RunAsync(ParseResult parsed)
    {
        var grace = parsed.GetValue(_grace);
        if (grace is not (>= 0 and <= 86400))
            throw new CliException($"--grace is {grace}, expected seconds from 0 to 86400, as 25.", ExitCode.Usage);
        using var lifespan = new Lifespan(parsed.GetValue(_lifeline), parsed.GetValue(_run));
        using var log = new ErrorLog();
        var coordinator = ClusterOptions.AddressOf(parsed, _coordinator);
        await AgentHost.RunAsync(
            new AgentOptions
            {
                Coordinator = coordinator,
                Token = JoinToken.Read(parsed, _tokenFile, _token, parsed.GetValue(_lifeline)),
                Fingerprint = ClusterOptions.FingerprintOf(parsed, _fingerprint),
                WorkFolder = parsed.GetValue(_work) ?? new AgentOptions { Coordinator = coordinator }.WorkFolder,
                Slots = parsed.GetValue(_slots),
                Device = parsed.GetValue(_device) switch { "cpu" => DeviceKind.Cpu, "cuda" => DeviceKind.Cuda, _ => DeviceKind.Any },
                Host = parsed.GetRequiredValue(_name),
                LeaveGrace = TimeSpan.FromSeconds(grace),
                Network = parsed.GetValue(_network),
                NetworkPorts = parsed.GetValue(_networkPorts),
                LoggerFactory = log,
            },
            lifespan.Stop).ConfigureAwait(false);
        return ExitCode.Success;
    }
}
