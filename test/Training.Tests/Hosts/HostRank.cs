using System.Globalization;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;
using MLDistributed.Training.Parallel;
using Training.Tests.Loop;

namespace Training.Tests.Hosts;

/// <summary>A rank that is a process on a host of its own network: "started" when training begins, "epoch N" then and again, its losses and its last step's weights, and "done" or "failed" with the reason.</summary>
internal static class HostRank
{
    public const string BitExact = "bit-exact";
    public const string Compressed = "compressed";

    public static JobSpec Spec(int epochs, string kind = "") => Cluster.Spec(s =>
    {
        // Gradients of several pieces a host. A small rate: a larger one makes 1e-7 of rounding 1e-3 in 200 steps.
        s.Module.Mlp.HiddenSizes.Clear();
        s.Module.Mlp.HiddenSizes.Add([500, 600]);
        s.Optimizer.LearningRate = 0.005;
        s.GradientClipNorm = 1;
        s.Epochs = epochs;
        s.BitExact = kind == BitExact ? new BitExactSpec { MicroBatches = 8 } : null;
        s.GradientCompression = kind == Compressed ? Compression.BFloat16 : Compression.None;
    });

    /// <param name="args">Folder, ranks of hosts ("2+2"), rank, rendezvous, epochs, seconds of patience, the kind of job.</param>
    public static int Run(string[] args)
    {
        var (folder, rank) = (args[0], Number(args[2]));
        var topology = Topology.OfCpus([.. args[1].Split('+').Select(Number)]);
        var host = topology.HostOf(rank);
        var patience = TimeSpan.FromSeconds(Number(args[5]));
        var start = new RankStart
        {
            AttemptId = "attempt",
            Spec = Spec(Number(args[4]), args[6]),
            Rank = rank,
            WorldSize = topology.WorldSize,
            Device = DeviceKind.Cpu,
            SegmentPath = $"/dev/shm/{Path.GetFileName(folder)}-{host}",
            DatasetPath = Path.Combine(folder, "data"),
            OutputFolder = Path.Combine(folder, $"out-{host}"),
        };
        var mpi = new MpiOptions { Rank = host, WorldSize = topology.Hosts.Count, NetworkInterface = NetworkHosts.Interface, Timeout = patience, Topology = topology };
        float[] weights = [];
        var environment = new TrainingEnvironment
        {
            ThreadCount = 1,
            PeerTimeout = patience,
            Module = s => new WatchedWeights(new MlpSource(s.Module.Mlp, s.Seed), now => weights = now),
            Hosts = s => new HostPlace(topology, rank, _ => throw new NotSupportedException("These ranks have nothing to tell before they meet."), () => MpiWorld.Join(mpi, new UnixRendezvous(args[3], host))),
        };
        var reporter = new Lines(rank);
        try
        {
            new RankSession(start, reporter, environment).Run(CancellationToken.None);
            reporter.Say(string.Join(' ', ["losses", .. reporter.Losses.Select(l => l.ToString("R", CultureInfo.InvariantCulture))]));
            reporter.Say($"weights {Convert.ToHexString(SHA256.HashData(MemoryMarshal.AsBytes(weights.AsSpan())))}");
            reporter.Say("done");
        }
        catch (Exception e)
        {
            reporter.Say($"failed {(e is TrainingException { IsBystander: true } ? "bystander" : "culprit")} {e.Message.ReplaceLineEndings(" ")}");
        }

        // MPI is not left by an ordinary exit.
        Console.In.ReadToEnd();
        return 0;
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private sealed class Lines(int rank) : IRankReporter
    {
        public List<double> Losses { get; } = [];

        public void Say(string line)
        {
            Console.Out.WriteLine(line);
            Console.Out.Flush();
        }

        public void Started() => Say("started");

        public void Progress(Progress progress) => Losses.AddRange(progress.Recent.Select(l => l.Loss));

        public void Epoch(EpochEnded epoch)
        {
            if (rank == 0)
                Say($"epoch {epoch.Epoch}");
        }

        public void Checkpoint(string path, int epoch, long step) { }

        public void Log(LogLine line) { }
    }
}
