using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace Training.Tests.Loop;

/// <summary>Ranks that share no memory: gradients leave while backward goes on.</summary>
[TestClass]
public sealed class OverlapTests
{
    public static readonly Dictionary<string, Action<JobSpec>> Jobs = new()
    {
        ["several buckets"] = s => s.Module.Mlp.HiddenSizes.Add([400, 500, 400]),
        ["clipped, AdamW, dropout"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Add([400, 500, 400]);
            s.Module.Mlp.Dropout = 0.2;
            s.GradientClipNorm = 0.5;
            s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 1e-3, WeightDecay = 0.01 };
        },
        ["batch norm"] = s => s.Module.Mlp.Normalization = LayerNormalization.Batch,
        ["accumulated"] = s =>
        {
            s.Module.Mlp.HiddenSizes.Add([400, 500, 400]);
            s.MaxMicroBatchSize = 7;
        },
        ["one bucket"] = _ => { },
    };

    public static IEnumerable<object[]> Names => from name in Jobs.Keys from world in new[] { 2, 3 } select new object[] { name, world };

    [TestMethod, DynamicData(nameof(Names))]
    public void Train_OverATransport_IsAsOverSharedMemory(string name, int world)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);
        var spec = Cluster.Spec(Jobs[name]);
        var shared = Cluster.Train(spec, world, folder["data"]).ShouldSucceed();
        var sent = Cluster.Train(spec, world, folder["data"], configure: r => r.Value with { Transport = Transport(folder, TimeSpan.FromMilliseconds(1)) }).ShouldSucceed();
        Assert.HasCount(shared.Losses.Length, sent.Losses);
        for (var i = 0; i < shared.Losses.Length; i++)
            Assert.AreEqual(shared.Losses[i], sent.Losses[i], 1e-4 * Math.Abs(shared.Losses[i]), $"Step {i + 1}");
    }

    [TestMethod]
    public void Train_OverATransport_FirstBucketsLeaveBeforeBackwardEnds()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 32, i => [i % 3, 0, 0, 1, 2], i => i % 3);
        using var left = new SemaphoreSlim(0);
        var make = Transport(folder, TimeSpan.Zero, (rank, _) => left.Release());
        Cluster.Train(Cluster.Spec(s =>
        {
            Jobs["several buckets"](s);
            s.Epochs = 1;
        }), 2, folder["data"], configure: r => r.Value with
        {
            Transport = make,
            Module = s => new SourceAround(new MlpSource(s.Module.Mlp, s.Seed), m => new Watched(m, afterBackward: () => Assert.IsTrue(left.Wait(Cluster.Bound), "No bucket left before backward ended."))),
        }).ShouldSucceed();
    }

    [TestMethod]
    public void Resume_OverATransport_GoesOnFromSharedMemory()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[0].Content);
        var rest = Cluster.Train(spec, 3, folder["data"], folder["checkpoint"], configure: r => r.Value with { Transport = Transport(folder, TimeSpan.Zero) }).ShouldSucceed();
        var expected = whole.Losses[^rest.Losses.Length..];
        Assert.HasCount(whole.Losses.Length - 4, rest.Losses);
        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], rest.Losses[i], 1e-4 * expected[i]);
    }

    [TestMethod]
    public void Train_TransportFails_AllRanksFailWithItsReason()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i % 3, 0, 0, 1, 2], i => i % 3);
        var make = Transport(folder, TimeSpan.Zero, (rank, count) =>
        {
            if (rank == 1 && count == 3)
                throw new CollectiveException("The cable is cut.");
        });
        var run = Cluster.Train(Cluster.Spec(Jobs["several buckets"]), 2, folder["data"], configure: r => r.Value with { Transport = make });
        StringAssert.Contains(run.Failures[1]!.Message, "The cable is cut.");
        Assert.IsTrue(((TrainingException)run.Failures[0]!).IsBystander);
    }

    [TestMethod]
    public void Train_BitExactOverATransport_IsRefusedOnAllRanks()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        var run = Cluster.Train(Cluster.Spec(s => s.BitExact = new BitExactSpec { MicroBatches = 8 }), 2, folder["data"],
            configure: r => r.Value with { Transport = _ => throw new AssertFailedException("The transport was made.") });
        foreach (var failure in run.Failures.Cast<TrainingException>())
        {
            Assert.AreEqual((FailureKind.Invalid, false), (failure.Failure.Kind, failure.IsBystander));
            StringAssert.StartsWith(failure.Message, "Job \"test\" has Reproducibility.BitExact (8 micro-batches) with ranks that share no memory, expected ranks of hosts");
        }

        Assert.IsTrue(run.Recorders.All(r => r.Losses.Count == 0));
    }

    [TestMethod, DataRow(8, 7, 5), DataRow(512, 513, 514, DisplayName = "large layers")]
    public unsafe void Backward_OfALayer_TellsWhenItsGradientsAreFinal(int first, int second, int third)
    {
        var spec = new MlpSpec { InputSize = 6, OutputSize = 3, HiddenSizes = { first, second, third } };
        var layout = MlpSource.LayoutOf(spec);
        using var scope = NewDisposeScope();
        var (parameters, gradients) = (randn(layout.ParameterLength), zeros(layout.ParameterLength));
        using var collective = Cluster.Alone();
        List<(long From, float[] Values)> told = [];
        var memory = (float*)TorchMemory.Data(gradients);
        using var module = new Mlp(spec, layout, 1, 4, parameters, gradients, new StatisticsJoin(collective), from => told.Add((from, new Span<float>(memory + from, (int)(layout.ParameterLength - from)).ToArray())));
        var loss = module.Forward(new Batch(randn(4, 6), zeros(4), null, 4, 4, new Shard(0, 4)), 0).square().sum();
        module.Backward(loss, 4);

        CollectionAssert.AreEqual((int[])[3, 2, 1], told.Select(t => layout.Parameters.ToList().FindIndex(p => p.Start == t.From) / 2).ToArray());
        foreach (var (from, values) in told)
            CollectionAssert.AreEqual(new Span<float>(memory + from, values.Length).ToArray(), values, $"From {from} on they changed afterwards.");
    }

    private static Func<RankStart, ICollective> Transport(TempFolder folder, TimeSpan delay, Action<int, int>? onAllReduce = null) => start => new DelayedTransport(
        new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = folder["transport"], Rank = start.Rank, WorldSize = start.WorldSize, RunId = "transport" })), delay)
    {
        OnAllReduce = count => onAllReduce?.Invoke(start.Rank, count),
    };

    private sealed class Watched(ITrainedModule module, Action afterBackward) : ModuleAround(module)
    {
        public override void Backward(Tensor loss, int globalRows)
        {
            base.Backward(loss, globalRows);
            afterBackward();
        }
    }
}
