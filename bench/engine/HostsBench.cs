using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Engine.Bench;

/// <summary>All-reduce of float32 values of two hosts, which are network namespaces with a core each, in microseconds: ours over MPI, and Gloo.</summary>
internal static unsafe class HostsBench
{
    private const string Ours = "MPI, ours";
    private const string Gloo = "Gloo";
    private const string Seconds = "0.7";
    private const string Far = "1 ms delay"; // each way

    private static readonly int[] s_sizes = [4 << 10, 64 << 10, 1 << 20, 16 << 20, 100 << 20];
    private static readonly string[] s_networks = ["bare", "4gbit", "1gbit", Far];

    public static int Run(string[] args)
    {
        if ((MpiWorld.Unavailable() ?? NetworkHosts.Unavailable()) is { } reason)
        {
            Console.WriteLine(reason);
            return 0;
        }

        var rounds = args is [var first, ..] ? int.Parse(first) : 3;
        var peers = Environment.GetEnvironmentVariable("MLDIST_BENCH_PEERS");
        string[] contenders = peers is null ? [Ours] : [Ours, Gloo];
        Console.WriteLine($"| network | float32, 2 hosts x 1 rank | {string.Join(" | ", contenders)} | {Gloo} / {Ours}, within a round | points without both cores |");
        Console.WriteLine($"| --- | --- |{string.Concat(contenders.Select(_ => " --- |"))} --- | --- |");
        foreach (var network in s_networks)
        {
            using var hosts = NetworkHosts.Create(2);
            if (Shape(hosts, network) is { } refusal)
            {
                Console.Error.WriteLine($"{network} is left out: {refusal}");
                continue;
            }

            var tables = s_sizes.ToDictionary(s => s, _ => new RoundTable(contenders));
            for (var i = 0; i < rounds * contenders.Length; i++)
            {
                var contender = contenders[i % contenders.Length];
                var (medians, clean) = CoreProbe.Measure(() => contender == Ours ? OfOurs(hosts) : OfGloo(hosts, peers!));
                foreach (var (size, median) in medians)
                    tables[size].Add(contender, median, clean);
                Console.Error.Write('.');
            }

            foreach (var (size, table) in tables)
            {
                var name = size < 1 << 20 ? $"{size >> 10} KB" : $"{size >> 20} MB";
                Console.WriteLine($"| {network} | {name} | {string.Join(" | ", contenders.Select(c => $"{table.Median(c):N0} ({table.Lowest(c):N0} to {table.Highest(c):N0})"))} | {(contenders.Length == 2 ? table.Ratio(Gloo, Ours) : "")} | {table.UncleanCount} |");
            }
        }

        return 0;
    }

    /// <summary>One host's rank. Arguments: rank, rendezvous, seconds a size. Rank 0 prints a line a size: bytes, and mean and median in microseconds.</summary>
    public static int RunRank(string[] args)
    {
        var rank = int.Parse(args[0]);
        var end = TimeSpan.FromSeconds(double.Parse(args[2], CultureInfo.InvariantCulture));
        using var collective = MpiWorld.Join(new MpiOptions { Rank = rank, WorldSize = 2, NetworkInterface = NetworkHosts.Interface }, new UnixRendezvous(args[1], rank));
        var values = (float*)NativeMemory.AlignedAlloc((nuint)s_sizes[^1], 4096);
        var stop = new double[1];
        foreach (var size in s_sizes)
        {
            var part = new Span<float>(values, size / sizeof(float));
            // Until then the runtime runs code that it has not optimised yet.
            for (var i = 0; i < 30_000_000 / size + 2; i++)
                collective.AllReduce(part);
            var times = new List<double>();
            stop[0] = 0;
            for (var watch = Stopwatch.StartNew(); ;)
            {
                if (rank == 0 && times.Count > 0 && watch.Elapsed > end)
                    stop[0] = 1;
                collective.Broadcast(stop, 0);
                if (stop[0] != 0)
                    break;
                part.Clear();
                collective.Barrier();
                var started = Stopwatch.GetTimestamp();
                collective.AllReduce(part);
                times.Add(Stopwatch.GetElapsedTime(started).TotalMicroseconds);
            }

            if (rank == 0)
                Console.WriteLine($"{size} {times.Average()} {times.Order().ElementAt(times.Count / 2)}");
        }

        collective.Barrier();
        Console.WriteLine("done");
        Console.In.ReadToEnd();
        return 0;
    }

    private static string? Shape(NetworkHosts hosts, string network)
    {
        for (var host = 0; host < 2; host++)
            if (network == Far && hosts.SetDelay(host, milliseconds: 1) is { } refusal)
                return refusal;
            else if (network.EndsWith("gbit", StringComparison.Ordinal))
                hosts.SetRate(host, network);
        return null;
    }

    private static Dictionary<int, double> OfOurs(NetworkHosts hosts)
    {
        using var rendezvous = new UnixRendezvousServer(2, tellsOfDeath: true);
        return Measure(rank => hosts.On(rank, "taskset", "-c", $"{rank}", Environment.ProcessPath!, "hosts-rank", $"{rank}", rendezvous.Path, Seconds));
    }

    private static Dictionary<int, double> OfGloo(NetworkHosts hosts, string peers) =>
        Measure(rank => hosts.On(rank, "taskset", ["-c", $"{rank}", "/usr/bin/python3", "-u", Path.Combine(peers, "allreduce_gloo_hosts.py"), $"{rank}", NetworkHosts.Address(0) + ":7200", Seconds, .. s_sizes.Select(s => $"{s}")]));

    private static Dictionary<int, double> Measure(Func<int, ProcessStartInfo> start)
    {
        var processes = new Process[2];
        try
        {
            for (var rank = 0; rank < 2; rank++)
            {
                var info = start(rank);
                (info.RedirectStandardInput, info.RedirectStandardOutput) = (true, true);
                (info.Environment["GLOO_SOCKET_IFNAME"], info.Environment["OMP_NUM_THREADS"], info.Environment["DOTNET_EnableDiagnostics"]) = (NetworkHosts.Interface, "1", "0");
                processes[rank] = Process.Start(info)!;
            }

            var medians = new Dictionary<int, double>();
            while (medians.Count < s_sizes.Length)
            {
                var line = processes[0].StandardOutput.ReadLine() ?? throw new InvalidOperationException($"{processes[0].StartInfo.ArgumentList[^1]} ended after {medians.Count} sizes, expected {s_sizes.Length}.");
                var words = line.Split(' ');
                medians.Add(int.Parse(words[0]), double.Parse(words[2], CultureInfo.InvariantCulture));
            }

            return medians;
        }
        finally
        {
            Ranks.End(processes);
        }
    }
}
