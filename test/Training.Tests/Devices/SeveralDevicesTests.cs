using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Parallel;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Devices;

/// <summary>Ranks with a device each, with libtorch's CPU as the devices and stand-ins of CUDA's runtime and NCCL.</summary>
[TestClass]
public sealed class SeveralDevicesTests
{
    // Of several hidden layers, so that there is something to send before backward ends.
    private const long BucketLength = 100_000;

    private static readonly Dictionary<string, Action<JobSpec>> s_jobs = new(OverlapTests.Jobs)
    {
        ["validated, averaged, weighted classes"] = s =>
        {
            (s.Optimizer.AveragingDecay, s.Data.ValidationFraction) = (0.9, 0.2);
            s.ClassWeights.Add([1f, 2f, 0.5f]);
        },
        ["a last batch that is shorter than the ranks"] = s => s.GlobalBatchSize = 33,
    };

    public static IEnumerable<object[]> Jobs => from name in s_jobs.Keys from world in new[] { 2, 3 } select new object[] { name, world };

    [ClassInitialize]
    public static void Initialize(TestContext context) => NcclStandIn.Require();

    [TestMethod, DynamicData(nameof(Jobs))]
    public void Train_OnSeveralDevices_IsAsInSharedMemory(string name, int world)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s_jobs[name]);
        var shared = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
        var weights = new float[world][];
        var devices = Cluster.Train(spec, world, folder["data"], configure: r => OnDevices(r.Value) with { Module = s => new WatchedWeights(new MlpSource(s.Module.Mlp, s.Seed), now => weights[r.Rank] = now) }).ShouldSucceed();

        Near(shared.Losses, devices.Losses);
        Near(shared.AllWeights().Select(w => (double)w), devices.AllWeights().Select(w => (double)w));
        foreach (var (expected, actual) in shared.Result.History.Zip(devices.Result.History))
            Near([expected.TrainingLoss, expected.ValidationLoss, .. expected.TrainingMetrics], [actual.TrainingLoss, actual.ValidationLoss, .. actual.TrainingMetrics]);
        for (var rank = 1; rank < world; rank++)
            CollectionAssert.AreEqual(weights[0], weights[rank], $"Rank {rank} has other weights than rank 0.");
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    public static IEnumerable<object[]> LongJobs => from name in s_longJobs.Keys from world in new[] { 1, 2, 3 } from bucket in new long[] { 50, BucketLength } select new object[] { name, world, bucket };

    private static readonly Dictionary<string, Action<JobSpec>> s_longJobs = new()
    {
        ["AdamW, decay, clipped, averaged, validated"] = s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
            (s.GradientClipNorm, s.Data.ValidationFraction) = (0.3, 0.2);
        },
        ["AdamW, averaged, not validated"] = s => s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, AveragingDecay = 0.9 },
        ["momentum, clipped"] = s => s.GradientClipNorm = 0.3,
        ["SGD"] = s => s.Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.05 },
    };

    // The optimizer's state is in parts, in several blocks or one, of 339 parameters, against that of the one copy in memory.
    [TestMethod, DynamicData(nameof(LongJobs))]
    public void Train_50StepsWithStateInParts_IsAsWithTheWhole(string name, int world, long bucket)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s =>
        {
            s_longJobs[name](s);
            (s.GlobalBatchSize, s.Epochs) = (20, s.Data.ValidationFraction > 0 ? 13 : 10);
        });
        var whole = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var (scatters, gathers) = (NcclStandIn.Scatters, NcclStandIn.Gathers);
        var parts = Cluster.Train(spec, world, folder["data"], configure: r => OnDevices(r.Value) with { DeviceBucketLength = bucket }).ShouldSucceed();

        Assert.IsGreaterThanOrEqualTo(50, parts.Losses.Length);
        Near(whole.Losses, parts.Losses, 1e-5);
        Near(whole.AllWeights().Select(w => (double)w), parts.AllWeights().Select(w => (double)w), 1e-5);
        var exchanges = world == 1 ? 0 : world * parts.Losses.Length * (bucket == 50 ? 7 : 1);
        Assert.AreEqual(exchanges, NcclStandIn.Scatters - scatters);
        Assert.AreEqual(exchanges + (spec.Data.ValidationFraction > 0 ? exchanges / parts.Losses.Length * 2 * spec.Epochs : 0), NcclStandIn.Gathers - gathers);
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    // What is frozen, and what decays and learns in its own way, is in pieces too, wherever blocks and parts begin.
    [TestMethod, DataRow(2, 50L), DataRow(3, 7L), DataRow(3, 1L << 22)]
    public void Train_GroupsOfParametersInParts_AreAsInSharedMemory(int world, long bucket)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s => s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1 });
        var whole = Run(1, e => e);
        var parts = Run(world, e => OnDevices(e) with { DeviceBucketLength = bucket });
        Near(whole.Losses, parts.Losses, 1e-5);
        Near(whole.AllWeights().Select(w => (double)w), parts.AllWeights().Select(w => (double)w), 1e-5);

        Run Run(int ranks, Func<TrainingEnvironment, TrainingEnvironment> change) => Cluster.Train(spec, ranks, folder["data"], configure: r => change(r.Value) with
        {
            Module = s => new TorchModuleSource(() => new TorchModules.GroupedNet(new TorchModules.NetOptions(5, 3, 8)), s.Seed),
        }).ShouldSucceed();
    }

    [TestMethod, DataRow(3, 2), DataRow(2, 1), DataRow(1, 3)]
    public void Resume_OnAnotherNumberOfDevices_GoesOn(int world, int nextWorld)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 };
        });
        var whole = Run(world, null).ShouldSucceed();
        foreach (var step in (long[])[2, 8])
        {
            File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First(c => c.Step == step).Content);
            var rest = Run(nextWorld, folder["checkpoint"]).ShouldSucceed();
            Near(whole.Losses[^rest.Losses.Length..], rest.Losses, 1e-5);
            Near(whole.AllWeights().Select(w => (double)w), rest.AllWeights().Select(w => (double)w), 1e-5);
        }

        Run Run(int ranks, string? from) => Cluster.Train(spec, ranks, folder["data"], from, configure: r => OnDevices(r.Value) with { DeviceBucketLength = 100 });
    }

    // It brings its part to the others' commits all the same, and nobody waits for it for ever.
    [TestMethod]
    public void Train_ARankThatCannotCommit_GoesOn()
    {
        using var folder = Data();
        using var file = CommitFile.Create("/dev/shm");
        if (file is null)
            Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, MinIntervalSeconds = 1e9 });
        var clock = new HandClock();
        var run = Cluster.Train(spec, 2, folder["data"], commits: file, prepare: s => s.CommitPath = s.Rank == 1 ? "" : s.CommitPath, configure: r => OnDevices(r.Value) with
        {
            Time = clock,
            RowTaken = (_, _) => clock.Advance(TimeSpan.FromMilliseconds(r.Rank == 0 ? 100 : 0)),
        }).ShouldSucceed();
        Near(Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().Losses, run.Losses);
    }

    [TestMethod]
    public void Train_ModuleThatOneDeviceCannotHold_FitsSeveralThatShareTheState()
    {
        var spec = Cluster.Spec(s => s.Optimizer = new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.99, Epsilon = 1e-6 }, LearningRate = 1e-3 });
        var layout = new MlpSource(spec.Module.Mlp, 1).Layout;
        var start = new RankStart { Spec = spec, DeviceIndex = 1 };
        // 339 parameters and their gradients, and of two moments the half or the third.
        foreach (var (ranks, bytes) in new[] { (1, 4 * 4 * 339), (2, 4 * (2 * 339 + 2 * 170)), (3, 4 * (2 * 339 + 2 * 113)) })
        {
            DeviceMemory.Check(start, layout, isOnDevice: true, ranks, new LazyCuda { TotalBytes = (nuint)bytes });
            var refusal = Assert.Throws<FormatException>(() => DeviceMemory.Check(start, layout, isOnDevice: true, ranks, new LazyCuda { TotalBytes = (nuint)bytes - 1 }));
            StringAssert.Contains(refusal.Message, ranks == 1 ? "their gradients and 2 states" : $"their gradients and its part, of {ranks} GPUs', of 2 states of the optimizer");
            StringAssert.Contains(refusal.Message, "or more GPUs of a host, which share the states.");
        }
    }

    [TestMethod]
    public void Train_OnSeveralDevices_FirstGradientsLeaveBeforeBackwardEnds()
    {
        using var folder = Data();
        NcclStandIn.Require();
        var before = NcclStandIn.Scatters;
        Cluster.Train(Cluster.Spec(s =>
        {
            OverlapTests.Jobs["several buckets"](s);
            (s.Epochs, s.GlobalBatchSize) = (1, 100);
        }), 2, folder["data"], configure: r => OnDevices(r.Value) with
        {
            Module = s => new SourceAround(new MlpSource(s.Module.Mlp, s.Seed), m => new Watched(m, () => Assert.IsGreaterThan(before, NcclStandIn.Scatters, "None left before backward ended."))),
        }).ShouldSucceed();
    }

    // Each rank writes its slice of what all have; in the middle of an epoch, and on another number of ranks.
    [TestMethod, DataRow(true), DataRow(false)]
    public void Resume_FromTheOtherStrategysCheckpoint_GoesOn(bool beginsOnDevices)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s =>
        {
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
            s.Data.ValidationFraction = 0.2;
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1e-9 };
        });
        var whole = Run(beginsOnDevices, 2, null).ShouldSucceed();
        foreach (var step in (long[])[2, 6])
        {
            File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First(c => c.Step == step).Content);
            var rest = Run(!beginsOnDevices, 3, folder["checkpoint"]).ShouldSucceed();
            Assert.AreEqual(step + 1, rest.Recorders[0].Losses[0].Step);
            Near(whole.Losses[^rest.Losses.Length..], rest.Losses);
            Near(whole.AllWeights().Select(w => (double)w), rest.AllWeights().Select(w => (double)w));
        }

        Run Run(bool onDevices, int world, string? from) => Cluster.Train(spec, world, folder["data"], from, configure: r => onDevices ? OnDevices(r.Value) : r.Value);
    }

    public static IEnumerable<object[]> HostsJobs => from name in s_jobs.Keys from hosts in new[] { "1+1", "2+1" } select new object[] { name, hosts };

    [TestMethod, DynamicData(nameof(HostsJobs))]
    public void Train_OnDevicesOfSeveralHosts_IsAsInSharedMemory(string name, string hosts)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s_jobs[name]);
        var topology = MemoryHosts.Of(hosts);
        var shared = Cluster.Train(spec, topology.WorldSize, folder["data"]).ShouldSucceed();
        var weights = new float[topology.WorldSize][];
        var words = new LeadersWords(topology);
        var devices = Cluster.Train(spec, topology.WorldSize, folder["data"], configure: r => OnHosts(r.Value, folder, topology, words) with { Module = s => new WatchedWeights(new MlpSource(s.Module.Mlp, s.Seed), now => weights[r.Rank] = now) }).ShouldSucceed();

        Near(shared.Losses, devices.Losses);
        Near(shared.AllWeights().Select(w => (double)w), devices.AllWeights().Select(w => (double)w));
        Near([shared.Result.TrainingLoss, shared.Result.ValidationLoss], [devices.Result.TrainingLoss, devices.Result.ValidationLoss]);
        for (var rank = 1; rank < weights.Length; rank++)
            CollectionAssert.AreEqual(weights[0], weights[rank], $"Rank {rank} has other weights than rank 0.");
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    // On another number of hosts, and of them on one without devices.
    [TestMethod]
    public void Resume_OnDevicesOfSeveralHosts_GoesOnFromOneAndBack()
    {
        using var folder = Data();
        var spec = Cluster.Spec(s =>
        {
            OverlapTests.Jobs["clipped, AdamW, dropout"](s);
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        });
        var topology = MemoryHosts.Of("2+1");
        var words = new LeadersWords(topology);
        var whole = Cluster.Train(spec, 2, folder["data"], configure: r => OnDevices(r.Value)).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[0].Content);
        var rest = Cluster.Train(spec, topology.WorldSize, folder["data"], folder["checkpoint"], configure: r => OnHosts(r.Value, folder, topology, words)).ShouldSucceed();
        Near(whole.Losses[^rest.Losses.Length..], rest.Losses);
        Assert.HasCount(whole.Losses.Length - 4, rest.Losses);

        File.WriteAllBytes(folder["checkpoint"], rest.Recorders[0].Checkpoints[0].Content);
        var last = Cluster.Train(spec, 1, folder["data"], folder["checkpoint"]).ShouldSucceed();
        Near(whole.Losses[^last.Losses.Length..], last.Losses);
    }

    [TestMethod]
    public void Train_ARankOfAnotherHostFails_AllAreStoppedByIt()
    {
        using var folder = Data();
        var topology = MemoryHosts.Of("2+2");
        var words = new LeadersWords(topology);
        var run = Cluster.Train(Cluster.Spec(s => s.Epochs = 1000), 4, folder["data"], configure: r => OnHosts(r.Value, folder, topology, words) with
        {
            RowTaken = (step, _) =>
            {
                if (step == 10 && r.Rank == 3)
                    throw new InvalidOperationException("This rank is lost.");
            },
        });
        StringAssert.Contains(run.Failures[3]!.Message, "This rank is lost.");
        foreach (var failure in run.Failures[..3].Cast<TrainingException>())
            Assert.IsTrue(failure.IsBystander, failure.Message);
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    [TestMethod]
    public void Train_AHostHasNoNccl_IsRefusedOnAllWithBothHosts()
    {
        using var folder = Data();
        var topology = MemoryHosts.Of("1+2");
        var words = new LeadersWords(topology);
        var run = Cluster.Train(Cluster.Spec(), 3, folder["data"], configure: r => OnHosts(r.Value, folder, topology, words) is var all && r.Rank == 0 ? all
            : all with { Nccl = () => NcclLibrary.Open("/nowhere/libnccl.so.2") });
        foreach (var leader in (int[])[0, 1])
        {
            var failure = (TrainingException)run.Failures[leader]!;
            Assert.AreEqual((FailureKind.Invalid, false), (failure.Failure.Kind, failure.IsBystander), failure.Message);
            StringAssert.StartsWith(failure.Message, "Host \"0\" has NCCL 2.21.5, host \"1\" has no NCCL (NCCL \"/nowhere/libnccl.so.2\" cannot be loaded, expected the path of libnccl.so.2), expected the same NCCL on all hosts of a job on GPUs.");
        }

        Assert.IsTrue(((TrainingException)run.Failures[2]!).IsBystander);
        Assert.IsEmpty(run.Recorders[0].Losses);
        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    [TestMethod]
    public void Resume_FromACommit_GoesOn()
    {
        using var folder = Data();
        using var file = CommitFile.Create("/dev/shm");
        if (file is null)
            Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, MinIntervalSeconds = 1e9 });
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        var clock = new HandClock();
        var first = Run(failingStep: 8);
        Assert.IsTrue(first.Failures.All(f => f is not null));
        Assert.IsGreaterThan(4L, file.NewestStep());
        var rest = Run(failingStep: 0).ShouldSucceed();
        Near(whole.Losses[^rest.Losses.Length..], rest.Losses);
        Assert.AreEqual(0, NcclStandIn.Alive);

        Run Run(long failingStep) => Cluster.Train(spec, 2, folder["data"], commits: file, configure: r => OnDevices(r.Value) with
        {
            Time = clock,
            RowTaken = (step, _) =>
            {
                if (r.Rank == 0)
                    clock.Advance(TimeSpan.FromSeconds(1));
                if (step == failingStep && r.Rank == 1)
                    throw new InvalidOperationException("This rank is lost.");
            },
        });
    }

    // The host with rank 0 is another then, and has nothing.
    [TestMethod]
    public void Resume_FromACommitOfOneOfSeveralHosts_GoesOn()
    {
        using var folder = Data();
        var memories = Enumerable.Range(0, 3).Select(_ => CommitFile.Create("/dev/shm")).ToArray();
        if (memories[0] is null)
            Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        var spec = Cluster.Spec(s =>
        {
            OverlapTests.Jobs["clipped, AdamW, dropout"](s);
            s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, MinIntervalSeconds = 1e9 };
        });
        var whole = Cluster.Train(spec, 3, folder["data"]).ShouldSucceed();
        var clock = new HandClock();

        var first = Run([memories[0]!, memories[1]!], "2+1", failingStep: 8);
        Assert.IsTrue(first.Failures.All(f => f is not null));
        Assert.AreEqual(memories[0]!.NewestStep(), memories[1]!.NewestStep(), "Both at the same step, which rank 0 has planned.");
        var rest = Run([memories[2]!, memories[1]!], "1+2", failingStep: 0).ShouldSucceed();

        Assert.IsGreaterThan(4L, memories[1]!.NewestStep());
        Near(whole.Losses[^rest.Losses.Length..], rest.Losses);
        Near(whole.AllWeights().Select(w => (double)w), rest.AllWeights().Select(w => (double)w));
        Assert.AreEqual(0, NcclStandIn.Alive);
        foreach (var memory in memories)
            memory!.Dispose();

        Run Run(CommitFile[] hosts, string ranks, long failingStep)
        {
            var topology = MemoryHosts.Of(ranks);
            var words = new LeadersWords(topology);
            var kept = hosts.Select(h => h.NewestStep()).ToArray();
            return Cluster.Train(spec, topology.WorldSize, folder["data"], prepare: s => (s.CommitPath, s.CommitStep) = (hosts[topology.HostOf(s.Rank)].Path, kept[topology.HostOf(s.Rank)]), configure: r => OnHosts(r.Value, folder, topology, words) with
            {
                Time = clock,
                RowTaken = (step, _) =>
                {
                    if (r.Rank == 0)
                        clock.Advance(TimeSpan.FromSeconds(1));
                    if (step == failingStep && r.Rank == 2)
                        throw new InvalidOperationException("This rank is lost.");
                },
            });
        }
    }

    [TestMethod]
    public void Train_ARankFails_TheOthersAreStoppedByIt()
    {
        using var folder = Data();
        var run = Cluster.Train(Cluster.Spec(s => s.Epochs = 1000), 3, folder["data"], configure: r => OnDevices(r.Value) with
        {
            RowTaken = (step, _) =>
            {
                if (step == 10 && r.Rank == 2)
                    throw new InvalidOperationException("This rank is lost.");
            },
        });
        StringAssert.Contains(run.Failures[2]!.Message, "This rank is lost.");
        foreach (var failure in run.Failures[..2].Cast<TrainingException>())
        {
            Assert.IsTrue(failure.IsBystander);
            StringAssert.Contains(failure.Message, "was stopped because rank 2 aborted");
        }

        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    [TestMethod]
    public void Train_NcclFindsAnError_FailsWithIts()
    {
        using var folder = Data();
        NcclStandIn.Require();
        NcclStandIn.Fail(rank: 0, after: 20);
        try
        {
            var run = Cluster.Train(Cluster.Spec(s => s.Epochs = 1000), 2, folder["data"], configure: r => OnDevices(r.Value));
            var failure = ((TrainingException)run.Failures[0]!).Failure;
            Assert.AreEqual(FailureKind.Crashed, failure.Kind);
            StringAssert.StartsWith(failure.Message, "NCCL has error 6, \"remote process exited");
            StringAssert.Contains(run.Failures[1]!.Message, "rank 0 aborted");
        }
        finally
        {
            NcclStandIn.Fail(-1);
        }

        Assert.AreEqual(0, NcclStandIn.Alive);
    }

    [TestMethod]
    public void Train_LossBecomesNaN_AllRanksNameStepAndRank()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 2, 96, i => i == 40 ? [3e38f, 3e38f] : [i % 2, 1], i => i % 2);
        var spec = Cluster.Spec(s => (s.Module.Mlp.InputSize, s.Module.Mlp.OutputSize, s.GlobalBatchSize) = (2, 2, 4));
        var shared = Cluster.Train(spec, 2, folder["data"]);
        var devices = Cluster.Train(spec, 2, folder["data"], configure: r => OnDevices(r.Value));
        var expected = shared.Failures.Cast<TrainingException>().Single(f => !f.IsBystander);
        // Whoever learns of it first tells it, and may end the other before that one does.
        var told = devices.Failures.Cast<TrainingException>().Where(f => !f.IsBystander).ToList();
        Assert.AreNotEqual(0, told.Count);
        foreach (var actual in told)
            Assert.AreEqual(expected.Failure, actual.Failure);
    }

    [TestMethod]
    public void Train_WithoutNccl_SumsInTheHostsMemoryAndSaysSo()
    {
        using var folder = Data();
        var spec = Cluster.Spec();
        var run = Cluster.Train(spec, 2, folder["data"], configure: r => r.Value with { OnDevice = true, Cuda = () => new LazyCuda(), Nccl = () => NcclLibrary.Open("/nowhere/libnccl.so.2") }).ShouldSucceed();
        CollectionAssert.AreEqual(Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().Losses, run.Losses);

        Assert.IsNull(DeviceLink.TryLoad(() => new LazyCuda(), () => NcclLibrary.Open("/nowhere/libnccl.so.2"), out var missing));
        var start = new RankStart { Device = DeviceKind.Cuda, WorldSize = 2, Spec = spec };
        StringAssert.Contains(ParallelStrategy.Remark(start, null, missing), "in the host's memory, which the bus between bounds: NCCL is not used (NCCL \"/nowhere/libnccl.so.2\" cannot be loaded, expected the path of libnccl.so.2).");
        var link = new DeviceLink(new LazyCuda(), NcclLibrary.Open(NcclStandIn.Require()));
        Assert.AreEqual("The gradients of 2 GPUs are summed by NCCL 2.21.5, and stay on them.", ParallelStrategy.Remark(start, link, ""));
        start.Participants.Add([new Participant { Host = "a", Ranks = 1 }, new Participant { Host = "b", Ranks = 1 }]);
        Assert.AreEqual("The gradients of 2 GPUs on 2 hosts are summed by NCCL 2.21.5, and stay on them.", ParallelStrategy.Remark(start, link, ""));
    }

    internal static TrainingEnvironment OnDevices(TrainingEnvironment environment)
    {
        var library = NcclStandIn.Require();
        return environment with { OnDevice = true, Cuda = () => CudaRuntime.Of(library), Nccl = () => NcclLibrary.Open(library), DeviceBucketLength = BucketLength };
    }

    private static TrainingEnvironment OnHosts(TrainingEnvironment environment, TempFolder folder, Topology topology, LeadersWords words) =>
        OnDevices(environment) with { Hosts = MemoryHosts.Places(folder, topology, words: words) };

    private static TempFolder Data()
    {
        var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);
        return folder;
    }

    private static void Near(IEnumerable<double> expected, IEnumerable<double> actual, double tolerance = 1e-4)
    {
        var (e, a) = (expected.ToArray(), actual.ToArray());
        Assert.HasCount(e.Length, a);
        for (var i = 0; i < e.Length; i++)
            Assert.AreEqual(e[i], a[i], tolerance * Math.Max(1, Math.Abs(e[i])), $"Number {i}");
    }

    private sealed class Watched(ITrainedModule module, Action afterBackward) : ModuleAround(module)
    {
        public override void Backward(Tensor loss, int globalRows)
        {
            base.Backward(loss, globalRows);
            afterBackward();
        }
    }
}
