namespace MLDistributed.Engine.Bench;

/// <summary>What others have for the same work; bench/run.sh installs it.</summary>
internal sealed class Peers(string folder)
{
    private const string Python = "/usr/bin/python3";

    /// <summary>Null where bench/run.sh has not put them in place.</summary>
    public static Peers? Find()
    {
        var folder = Environment.GetEnvironmentVariable("MLDIST_BENCH_PEERS");
        if (folder is null)
            Console.WriteLine("The peers are left out: bench/run.sh installs them and compares.\n");
        return folder is null ? null : new Peers(folder);
    }

    /// <summary>A job of PyTorch's: DistributedDataParallel over Gloo, or processes that do not talk. Each leads, and answers with its samples/s.</summary>
    public Job Ddp(Model model, int processes, bool connected = true)
    {
        var rendezvous = Path.Combine(Path.GetTempPath(), $"mldist-bench-{Guid.NewGuid():N}");
        return new Job([.. Enumerable.Range(0, processes).Select(rank => Ranks.Start(
            Python, "-u", Path.Combine(folder, "ddp.py"), model.Name, $"{model.BatchSize}", $"{rank}", connected ? $"{processes}" : "1", rendezvous))], leaders: processes);
    }

    /// <summary>Mean and median in microseconds.</summary>
    public string AllReduce(string contender, int bytes, string seconds) => contender switch
    {
        "plain C" => Ranks.Run(Path.Combine(folder, "allreduce"), $"{bytes}", seconds)[^1],
        "plain C, copied" => Ranks.Run(Path.Combine(folder, "allreduce"), $"{bytes}", seconds, "copied")[^1],
        "memcpy" => Ranks.Run(Path.Combine(folder, "allreduce"), $"{bytes}", seconds, "memcpy")[^1],
        "MPICH" => Ranks.Run("mpiexec", "-n", "2", Path.Combine(folder, "allreduce_mpi"), $"{bytes}", seconds)[^1],
        _ => Ranks.Run(Python, Path.Combine(folder, "allreduce_gloo.py"), $"{bytes}", seconds)[^1],
    };
}
