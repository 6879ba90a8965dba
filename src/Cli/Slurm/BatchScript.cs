using System.Globalization;
using System.Text;

namespace MLDistributed.Cli.Slurm;

/// <summary>A batch job whose tasks, one a node, are workers: they join with a token each and leave when the allocation ends.</summary>
internal sealed record BatchScript
{
    /// <summary>Slurm kills what is left so many seconds after SIGTERM, by default (KillWait): a worker is gone before.</summary>
    public const int DefaultGrace = 25;

    public required int Nodes { get; init; }

    /// <summary>null: the CPU is offered.</summary>
    public int? GpusPerNode { get; init; }

    /// <summary>Slots of a worker; null: those of the node.</summary>
    public int? CpusPerNode { get; init; }

    public required Uri Coordinator { get; init; }

    public string? Fingerprint { get; init; }

    /// <summary>The program that runs on the nodes, and its first arguments.</summary>
    public required IReadOnlyList<string> Mldist { get; init; }

    /// <summary>A file that all nodes see, with a token a line.</summary>
    public required string TokenFile { get; init; }

    /// <summary>Before the time limit, and after scancel, so many seconds are for checkpoints.</summary>
    public int Grace { get; init; } = DefaultGrace;

    /// <summary>More options of sbatch, as "--partition=gpu".</summary>
    public IReadOnlyList<string> SbatchOptions { get; init; } = [];

    /// <summary>More options of mldist worker.</summary>
    public IReadOnlyList<string> WorkerOptions { get; init; } = [];

    public string Write()
    {
        var options = new List<string> { "--job-name=mldist", Number("--nodes", Nodes), "--ntasks-per-node=1" };
        if (CpusPerNode is { } cpus)
            options.Add(Number("--cpus-per-task", cpus));
        if (GpusPerNode is { } gpus)
            options.Add(Number("--gpus-per-node", gpus));
        // The time limit gives no notice of its own but KillWait; the workers take no more jobs a minute before.
        options.Add(Number("--signal=TERM@", Grace + 35, separator: ""));
        // A token is for one worker, once.
        options.Add("--no-requeue");
        options.AddRange(SbatchOptions);

        var worker = new List<string>(Mldist) { "worker", "--device", GpusPerNode is null ? "cpu" : "cuda", "--grace", Grace.ToString(CultureInfo.InvariantCulture) };
        worker.AddRange(WorkerOptions);
        var text = new StringBuilder("#!/bin/bash\n# Workers for a coordinator of MLDistributed, one a node. They leave at scancel or at the time limit.\n");
        foreach (var option in options)
            text.Append("#SBATCH ").Append(option).Append('\n');
        text.Append(CultureInfo.InvariantCulture, $"export MLDIST_COORDINATOR={Quote(Coordinator.OriginalString)}\n");
        if (Fingerprint is not null)
            text.Append(CultureInfo.InvariantCulture, $"export MLDIST_FINGERPRINT={Quote(Fingerprint)}\n");
        // sbatch takes the submitter's environment along, and workers need no key.
        text.Append("unset MLDIST_API_KEY MLDIST_JOIN_TOKEN\n");
        text.Append(CultureInfo.InvariantCulture, $"export MLDIST_TOKENS={Quote(TokenFile)}\n");
        // The shell waits for its worker, whatever it is told, and clears up behind it. One worker's end is not the others'.
        text.Append($$"""
            exec srun --kill-on-bad-exit=0 --label bash -c '
              trap : TERM
              export MLDIST_JOIN_TOKEN=$(sed -n "$((SLURM_PROCID + 1))p" "$MLDIST_TOKENS")
              work=${TMPDIR:-/tmp}/mldist-$SLURM_JOB_ID-$SLURM_PROCID
              # What Slurm gave, also where it leaves the cores to the honest: slots and the threads of each follow from it.
              export DOTNET_PROCESSOR_COUNT=${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}
              "$@" --work "$work" --name "$SLURMD_NODENAME"
              status=$?
              rm -rf "$work"
              exit $status' worker {{string.Join(' ', worker.Select(Quote))}}

            """.ReplaceLineEndings("\n"));
        return text.ToString();
    }

    /// <summary>One word of the shell, whatever is in it.</summary>
    public static string Quote(string word) =>
        word.Length > 0 && word.All(c => char.IsAsciiLetterOrDigit(c) || "-_./:=,@%+".Contains(c, StringComparison.Ordinal)) ? word : "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'";

    private static string Number(string option, int value, string separator = "=") => string.Create(CultureInfo.InvariantCulture, $"{option}{separator}{value}");
}
