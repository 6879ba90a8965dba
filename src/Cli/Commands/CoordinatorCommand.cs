using System.CommandLine;
using MLDistributed.Cli.Hosting;
using MLDistributed.Coordinator;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist coordinator</summary>
internal sealed class CoordinatorCommand : ServiceCommand
{
    private readonly Option<string> _data = new("--data") { Description = "Folder of the database and the stored files; made when missing.", Required = true, HelpName = "D" };
    private readonly Option<string?> _socket = new("--socket") { Description = "A Unix socket to listen on, without keys: in a folder that only its users can enter.", HelpName = "S" };
    private readonly Option<string[]> _urls = new("--urls") { Description = "Addresses to listen on: https://host:port, or http://localhost:port for this machine alone; several separated by spaces or semicolons.", HelpName = "u", AllowMultipleArgumentsPerToken = true };
    private readonly Option<string?> _certificate = new("--certificate") { Description = "PFX or PEM certificate for https. Default: a self-signed one, whose fingerprint is printed.", HelpName = "f" };
    private readonly Option<string?> _key = new("--certificate-key") { Description = "Key of a PEM certificate, when in a file of its own.", HelpName = "f" };
    private readonly Option<double> _timeout = new("--heartbeat-timeout") { Description = "A worker that was silent for so many seconds is lost.", HelpName = "s", DefaultValueFactory = _ => 5 };
    private readonly Option<double> _progress = new("--progress-timeout") { Description = "A worker that trains and told of no step for so many seconds loses the attempt.", HelpName = "s", DefaultValueFactory = _ => 300 };
    private readonly Option<double> _grace = new("--disconnect-grace") { Description = "A job that is to end with its app is cancelled when nobody watched it for so many seconds.", HelpName = "s", DefaultValueFactory = _ => 30 };
    private readonly Option<long?> _cache = new("--cache-bytes") { Description = "Keep data and models that no job needs up to so many bytes, a tenth of the disk at most, and the history of a hundred jobs. Default: all of it for 30 days.", HelpName = "n" };
    private readonly Option<double> _retention = new("--checkpoint-retention") { Description = "A job that failed or was cancelled can be resumed for so many days. 0: never.", HelpName = "d", DefaultValueFactory = _ => 7 };
    private readonly Option<int> _jobs = new("--max-jobs") { Description = "So many jobs of a tenant may wait or run.", HelpName = "n", DefaultValueFactory = _ => 20_000 };
    private readonly Option<int> _cordon = new("--cordon-failures") { Description = "A worker on which so many attempts failed of late, through no fault of their jobs, gets for a while only jobs that no others could hold. 0: never.", HelpName = "n", DefaultValueFactory = _ => 2 };
    private readonly Option<double> _window = new("--cordon-window") { Description = "For so many seconds a failed attempt counts against its worker.", HelpName = "s", DefaultValueFactory = _ => 600 };
    private readonly Option<double> _period = new("--cordon-period") { Description = "For so many seconds a worker is cordoned, and twice as long each time until an attempt ends well on it.", HelpName = "s", DefaultValueFactory = _ => 300 };
    private readonly Option<bool> _anew = new("--begin-anew") { Description = "Begin without the keys, jobs and workers of an earlier coordinator whose database is missing or empty. One that is there is used." };
    private readonly Option<string> _code = new("--user-code") { Description = "deny or allow jobs that bring a module of their own: code that then runs on the workers as their user. Default: deny.", HelpName = "p", DefaultValueFactory = _ => "deny" };
    private readonly Option<string?> _run = RunDirectory();
    private readonly Option<bool> _lifeline = Lifeline();

    public CoordinatorCommand() : base("coordinator", "Run a coordinator: it takes jobs, keeps data and models, and places jobs on workers.")
    {
        foreach (var option in (Option[])[_data, _socket, _urls, _certificate, _key, _timeout, _progress, _grace, _retention, _cache, _jobs, _cordon, _window, _period, _anew, _code, _run, _lifeline])
            Add(option);
        SetAction((parsed, _) => RunAsync(parsed));
    }

    private async Task<int> RunAsync(ParseResult parsed)
    {
        var urls = (parsed.GetValue(_urls) ?? []).SelectMany(u => u.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)).ToArray();
        var socket = parsed.GetValue(_socket);
        if (urls.Length == 0 && socket is null)
            throw new CliException("The coordinator has nowhere to listen, expected --socket or --urls, as in \"--urls https://0.0.0.0:7443\".", ExitCode.Usage);
        var timeout = parsed.GetValue(_timeout);
        if (timeout is not (> 0 and < 86400))
            throw new CliException($"--heartbeat-timeout is {timeout}, expected seconds above 0, as 5.", ExitCode.Usage);
        var grace = parsed.GetValue(_grace);
        if (grace is not (> 0 and < 86400))
            throw new CliException($"--disconnect-grace is {grace}, expected seconds above 0, as 30.", ExitCode.Usage);
        var retention = parsed.GetValue(_retention);
        if (retention is not (>= 0 and <= 3650))
            throw new CliException($"--checkpoint-retention is {retention}, expected days from 0 to 3650, as 7.", ExitCode.Usage);
        var progress = parsed.GetValue(_progress);
        if (progress is not (> 0 and < 864000))
            throw new CliException($"--progress-timeout is {progress}, expected seconds above 0, as 300.", ExitCode.Usage);
        var jobs = parsed.GetValue(_jobs);
        if (jobs < 1)
            throw new CliException($"--max-jobs is {jobs}, expected at least 1, as 20000.", ExitCode.Usage);
        var cordon = parsed.GetValue(_cordon);
        if (cordon is < 0 or > 1000)
            throw new CliException($"--cordon-failures is {cordon}, expected 0 to 1000, as 2.", ExitCode.Usage);
        var (window, period) = (parsed.GetValue(_window), parsed.GetValue(_period));
        if (window is not (> 0 and < 864000))
            throw new CliException($"--cordon-window is {window}, expected seconds above 0, as 600.", ExitCode.Usage);
        if (period is not (> 0 and < 864000))
            throw new CliException($"--cordon-period is {period}, expected seconds above 0, as 300.", ExitCode.Usage);
        var code = parsed.GetValue(_code);
        if (code is not ("deny" or "allow"))
            throw new CliException($"--user-code is \"{VisibleText.Shortened(code ?? "")}\", expected deny or allow.", ExitCode.Usage);
        using var lifespan = new Lifespan(parsed.GetValue(_lifeline), parsed.GetValue(_run));
        await CoordinatorHost.RunAsync(
            new CoordinatorOptions
            {
                DataFolder = parsed.GetRequiredValue(_data),
                SocketPath = socket,
                Urls = urls,
                CertificatePath = parsed.GetValue(_certificate),
                CertificateKeyPath = parsed.GetValue(_key),
                HeartbeatTimeout = TimeSpan.FromSeconds(timeout),
                ProgressTimeout = TimeSpan.FromSeconds(progress),
                DisconnectGrace = TimeSpan.FromSeconds(grace),
                CheckpointRetention = TimeSpan.FromDays(retention),
                CacheBytes = parsed.GetValue(_cache),
                MaxJobs = jobs,
                CordonFailures = cordon,
                CordonWindow = TimeSpan.FromSeconds(window),
                CordonPeriod = TimeSpan.FromSeconds(period),
                BeginAnew = parsed.GetValue(_anew),
                AllowUserCode = code == "allow",
            },
            lifespan.Stop).ConfigureAwait(false);
        return ExitCode.Success;
    }
}
