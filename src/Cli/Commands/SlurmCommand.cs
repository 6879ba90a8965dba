using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Cli.Slurm;
using MLDistributed.Coordinator;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist slurm submit</summary>
internal sealed class SlurmCommand : Command
{
    private const int MaxNodes = 10_000;
    private static readonly TimeSpan s_queue = TimeSpan.FromDays(14);

    private readonly Option<int> _nodes = new("--nodes", "-N") { Description = "Nodes, each with one worker.", DefaultValueFactory = _ => 1, HelpName = "n" };
    private readonly Option<int?> _gpus = new("--gpus-per-node") { Description = "GPUs of each node. Default: none, the CPU trains.", HelpName = "n" };
    private readonly Option<int?> _cpus = new("--cpus-per-node", "-c") { Description = "Cores, and without GPUs slots, of each node. Default: what Slurm gives.", HelpName = "n" };
    private readonly Option<string?> _time = new("--time", "-t") { Description = "Slurm's time limit, as 4:00:00. A minute before, workers take no more jobs and store checkpoints.", HelpName = "T" };
    private readonly Option<string?> _partition = new("--partition", "-p") { Description = "Slurm's partition.", HelpName = "P" };
    private readonly Option<string[]> _sbatch = new("--sbatch") { Description = "Another option of sbatch, as --sbatch=--account=lab; may be repeated.", HelpName = "O" };
    private readonly Option<int> _grace = new("--grace") { Description = "Seconds that a worker may take for checkpoints when it is told to leave: below Slurm's KillWait.", DefaultValueFactory = _ => BatchScript.DefaultGrace, HelpName = "s" };
    private readonly Option<string?> _coordinator = ClusterOptions.Coordinator();
    private readonly Option<string?> _fingerprint = ClusterOptions.Fingerprint();
    private readonly Option<string?> _data = new("--data") { Description = "The coordinator's data folder, where it is on this machine: join tokens are made there.", HelpName = "D" };
    private readonly Option<string?> _tokens = new("--token-file") { Description = "A file with a join token a line, one for each node, that the nodes can read: \"mldist tokens create --count\" makes them.", HelpName = "FILE" };
    private readonly Option<string> _folder = new("--folder") { Description = "Where the script, the tokens and the workers' output go; the nodes see it too.", DefaultValueFactory = _ => "mldist-slurm", HelpName = "F" };
    private readonly Option<string?> _mldist = new("--mldist") { Description = "The path of mldist on the nodes. Default: this one's.", HelpName = "PATH" };
    private readonly Option<bool> _print = new("--print") { Description = "Write the script and print it, and submit nothing." };
    private readonly Option<bool> _json = ClusterCommand.AsJson();
    private readonly Argument<string[]> _worker = new("options") { Description = "After --: more options of \"mldist worker\".", Arity = ArgumentArity.ZeroOrMore };

    public SlurmCommand() : base("slurm", "Start workers as jobs of Slurm.")
    {
        var submit = new Command("submit", "Submit a batch job whose tasks are workers; they leave at scancel or its time limit.");
        foreach (var option in (Option[])[_nodes, _gpus, _cpus, _time, _partition, _sbatch, _grace, _coordinator, _fingerprint, _data, _tokens, _folder, _mldist, _print, _json])
            submit.Add(option);
        submit.Add(_worker);
        submit.SetAction(SubmitAsync);
        Add(submit);
    }

    private async Task<int> SubmitAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var folder = Path.GetFullPath(parsed.GetRequiredValue(_folder));
        var nodes = Range(_nodes, parsed.GetValue(_nodes), 1, MaxNodes);
        var script = new BatchScript
        {
            Nodes = nodes,
            GpusPerNode = parsed.GetValue(_gpus) is { } gpus ? Range(_gpus, gpus, 1, 64) : null,
            CpusPerNode = parsed.GetValue(_cpus) is { } cpus ? Range(_cpus, cpus, 1, 4096) : null,
            Grace = Range(_grace, parsed.GetValue(_grace), 0, 3600),
            Coordinator = ClusterOptions.AddressOf(parsed, _coordinator),
            Fingerprint = ClusterOptions.FingerprintOf(parsed, _fingerprint),
            Mldist = parsed.GetValue(_mldist) is { } path ? [path] : ThisProgram.CommandLine() ?? throw new CliException("The path of this program is unknown, expected --mldist with that on the nodes.", ExitCode.Usage),
            SbatchOptions = [.. Sbatch(parsed)],
            WorkerOptions = parsed.GetValue(_worker) ?? [],
            TokenFile = Tokens(parsed, folder, nodes),
        }.Write();
        var file = Path.Combine(folder, "workers.sh");
        await File.WriteAllTextAsync(file, script, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_print))
        {
            if (parsed.GetValue(_json))
                Json.Write(new SlurmView(null, nodes, file, script));
            else
                Console.Write(script);
            return ExitCode.Success;
        }

        var job = await Slurm.Sbatch.SubmitAsync(file, folder, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(new SlurmView(job, nodes, file, script));
        else
            Console.WriteLine($"Submitted job {job}: {Words.Count(nodes, "worker")}, which join when it starts (\"squeue -j {job}\", \"mldist workers\"; their output: {folder}/slurm-{job}.out). They leave at its time limit, or at \"scancel {job}\".");
        return ExitCode.Success;
    }

    private IEnumerable<string> Sbatch(ParseResult parsed)
    {
        if (parsed.GetValue(_time) is { } time)
            yield return "--time=" + time;
        if (parsed.GetValue(_partition) is { } partition)
            yield return "--partition=" + partition;
        foreach (var option in parsed.GetValue(_sbatch) ?? [])
        {
            yield return option.StartsWith('-') && !option.AsSpan().ContainsAny('\n', '\r')
                ? option
                : throw new CliException($"--sbatch is \"{option}\", expected one of sbatch's options, as --sbatch=--account=lab.", ExitCode.Usage);
        }
    }

    private string Tokens(ParseResult parsed, string folder, int nodes)
    {
        Directory.CreateDirectory(folder);
        if (parsed.GetValue(_tokens) is { } given)
        {
            if (!File.Exists(given))
                throw new CliException($"--token-file \"{given}\" is missing, expected a file with a join token a line.", ExitCode.Usage);
            var count = File.ReadLines(given).Count(l => l.Trim().Length > 0);
            return count >= nodes ? Path.GetFullPath(given) : throw new CliException($"--token-file \"{given}\" has {Words.Count(count, "token")}, expected one for each of {nodes} nodes: \"mldist tokens create --count {nodes}\" makes them.", ExitCode.Usage);
        }

        if (parsed.GetValue(_data) is not { } data)
            throw new CliException("Nothing makes the workers' join tokens, expected --data, the coordinator's data folder, or --token-file with tokens of \"mldist tokens create --count\".", ExitCode.Usage);
        var tokens = CoordinatorAdministration.CreateJoinTokens(data, nodes, s_queue);
        var path = Path.Combine(folder, "tokens-" + OpaqueId.New());
        // Who may read it can be a worker.
        using var file = new StreamWriter(PrivateFile.Open(path, FileMode.CreateNew));
        foreach (var token in tokens)
            file.WriteLine(token);
        return path;
    }

    private static int Range(Option option, int value, int least, int most) =>
        value >= least && value <= most ? value : throw new CliException($"{option.Name} is {value}, expected {least} to {most:N0}.", ExitCode.Usage);
}
