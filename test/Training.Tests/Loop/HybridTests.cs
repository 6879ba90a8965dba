using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using MLDistributed.Training.Parallel;

namespace Training.Tests.Loop;

/// <summary>Ranks of several hosts. They are threads here, and the leaders meet in memory of their own.</summary>
[TestClass]
public sealed class HybridTests
{
    public static IEnumerable<object[]> Cases =>
        from name in OverlapTests.Jobs.Keys from hosts in new[] { "1+1", "2+2", "3+1" } select new object[] { name, hosts };

    [TestMethod, DynamicData(nameof(Cases))]
    public void Train_OnSeveralHosts_IsAsOnOneRank(string name, string hosts)
    {
        using var folder = Data();
        var spec = Cluster.Spec(OverlapTests.Jobs[name]);
        var topology = MemoryHosts.Of(hosts);
        var alone = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var several = Cluster.Train(spec, topology.WorldSize, folder["data"], configure: r => r.Value with { Hosts = MemoryHosts.Places(folder, topology) }).ShouldSucceed();
        AssertClose(alone.Losses, several.Losses);
    }

    [TestMethod]
    public void Train_OnSeveralHosts_AllHaveTheSameWeights()
    {
        using var folder = Data();
        var spec = Cluster.Spec(OverlapTests.Jobs["clipped, AdamW, dropout"]);
        var topology = Topology.OfCpus(3, 1);
        var weights = new float[topology.WorldSize][];
        Cluster.Train(spec, topology.WorldSize, folder["data"], configure: r => r.Value with
        {
            Hosts = MemoryHosts.Places(folder, topology),
            Module = s => new WatchedWeights(new MlpSource(s.Module.Mlp, s.Seed), now => weights[r.Rank] = now),
        }).ShouldSucceed();
        for (var rank = 1; rank < weights.Length; rank++)
            CollectionAssert.AreEqual(weights[0], weights[rank], $"Rank {rank} has other weights than rank 0.");
    }

    [TestMethod, DataRow("1+1"), DataRow("2+1")]
    public void Resume_OnSeveralHosts_GoesOnFromOne(string hosts)
    {
        using var folder = Data();
        var spec = Cluster.Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        var topology = MemoryHosts.Of(hosts);
        var whole = Cluster.Train(spec, 2, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[0].Content);
        var rest = Cluster.Train(spec, topology.WorldSize, folder["data"], folder["checkpoint"], configure: r => r.Value with { Hosts = MemoryHosts.Places(folder, topology) }).ShouldSucceed();
        AssertClose(whole.Losses[^rest.Losses.Length..], rest.Losses);
        Assert.HasCount(whole.Losses.Length - 4, rest.Losses);

        // And back: a checkpoint of several hosts is one like any other.
        File.WriteAllBytes(folder["checkpoint"], rest.Recorders[0].Checkpoints[0].Content);
        var last = Cluster.Train(spec, 1, folder["data"], folder["checkpoint"]).ShouldSucceed();
        AssertClose(whole.Losses[^last.Losses.Length..], last.Losses);
    }

    [TestMethod]
    public void Train_WithAveragingOnSeveralHosts_ValidatesAndReturnsWhatOneRankDoes()
    {
        using var folder = Data();
        var spec = Cluster.Spec(s => (s.Optimizer.AveragingDecay, s.Data.ValidationFraction, s.Checkpoint) = (0.9, 0.2, new CheckpointSpec { IntervalEpochs = 1 }));
        var topology = MemoryHosts.Of("2+1");
        var alone = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], alone.Recorders[0].Checkpoints[0].Content);
        foreach (var resume in (string?[])[null, folder["checkpoint"]])
        {
            var several = Cluster.Train(spec, topology.WorldSize, folder["data"], resume, configure: r => r.Value with { Hosts = MemoryHosts.Places(folder, topology) }).ShouldSucceed();
            Assert.AreEqual(alone.Result.ValidationLoss, several.Result.ValidationLoss, 1e-4);
            foreach (var (name, values) in alone.Tensors)
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual(values[i], several.Tensors[name][i], 1e-4, name);
        }
    }

    [TestMethod]
    public void Train_LeadersCannotMeet_AllRanksFail()
    {
        using var folder = Data();
        var topology = Topology.OfCpus(2, 2);
        var run = Cluster.Train(Cluster.Spec(), 4, folder["data"], configure: r => r.Value with
        {
            Hosts = start => MemoryHosts.Places(folder, topology)(start) with { MeetLeaders = () => throw new CollectiveException($"Host {topology.HostOf(start.Rank)} has no network.") },
        });
        StringAssert.Contains(run.Failures[0]!.Message, "Host 0 has no network.");
        StringAssert.Contains(run.Failures[2]!.Message, "Host 1 has no network.");
        Assert.IsTrue(((TrainingException)run.Failures[1]!).IsBystander && ((TrainingException)run.Failures[3]!).IsBystander);
        StringAssert.Contains(run.Failures[3]!.Message, "Rank 3 was stopped because rank 2 aborted");
    }

    [TestMethod]
    public void Train_NetworkFailsInTheMiddle_AllRanksFail()
    {
        using var folder = Data();
        var topology = Topology.OfCpus(2, 2);
        var run = Cluster.Train(Cluster.Spec(), 4, folder["data"], configure: r => r.Value with
        {
            Hosts = MemoryHosts.Places(folder, topology, (host, count) =>
            {
                if (host == 1 && count == 5)
                    throw new CollectiveNetworkException("The cable is cut.");
            }),
        });
        StringAssert.Contains(run.Failures[2]!.Message, "The cable is cut.");
        Assert.AreEqual(FailureKind.Crashed, ((TrainingException)run.Failures[2]!).Failure.Kind);
        Assert.IsTrue(run.Failures.All(f => f is TrainingException { IsBystander: true }), "Another rank's end looks the same from here.");
    }

    public static IEnumerable<object[]> BitExactCases =>
        from clip in new[] { 0.0, 1.0 } from hosts in new[] { "1+1", "2+2", "3+1", "2+1+1", "1+1+1+1", "7+3" } select new object[] { hosts, clip };

    [TestMethod, DynamicData(nameof(BitExactCases))]
    public void Train_BitExactOnSeveralHosts_HasTheBitsOfOneRank(string hosts, double clip)
    {
        using var folder = Data();
        var spec = BitExact(clip);
        var topology = MemoryHosts.Of(hosts);
        var alone = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var several = Cluster.Train(spec, topology.WorldSize, folder["data"], configure: r => r.Value with { Hosts = MemoryHosts.Places(folder, topology) }).ShouldSucceed();

        CollectionAssert.AreEqual(alone.Losses, several.Losses);
        ShouldBeEqual(alone.Tensors, several.Tensors);
    }

    [TestMethod]
    public void Resume_BitExactOnOtherHosts_HasTheBitsOfOneRank()
    {
        using var folder = Data();
        var spec = BitExact(clip: 1);
        spec.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        var topology = MemoryHosts.Of("3+1");
        var alone = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var begun = Cluster.Train(spec, topology.WorldSize, folder["data"], configure: r => r.Value with { Hosts = MemoryHosts.Places(folder, topology) }).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], begun.Recorders[0].Checkpoints[0].Content);

        // A host is lost.
        ShouldBeEqual(alone.Tensors, Cluster.Train(spec, 3, folder["data"], folder["checkpoint"]).ShouldSucceed().Tensors);
    }

    [TestMethod]
    public void BitExact_OnProcessorsOfTwoKinds_IsRefusedWithBothHosts()
    {
        var error = Assert.Throws<FormatException>(() => HostPlace.RequireOneKind(Topology.OfCpus(1, 2, 1), ["Zen, family 25 model 17 (avx2)", "Zen, family 25 model 17 (avx2)", "Lake, family 6 model 106 (avx2 avx512f)"]));

        StringAssert.StartsWith(error.Message, "Host \"0\" has processors of kind Zen, family 25 model 17 (avx2), host \"2\" of kind Lake, family 6 model 106 (avx2 avx512f), expected one kind for Reproducibility.BitExact");
        HostPlace.RequireOneKind(Topology.OfCpus(1, 1), ["Zen", "Zen"]);
    }

    private static JobSpec BitExact(double clip) => Cluster.Spec(s =>
    {
        OverlapTests.Jobs["clipped, AdamW, dropout"](s);
        (s.GradientClipNorm, s.Data.ValidationFraction, s.BitExact) = (clip, 0.2, new BitExactSpec { MicroBatches = 8 });
    });

    private static void ShouldBeEqual(IReadOnlyDictionary<string, float[]> expected, IReadOnlyDictionary<string, float[]> actual)
    {
        CollectionAssert.AreEqual(expected.Keys.Order().ToArray(), actual.Keys.Order().ToArray());
        foreach (var (name, values) in expected)
            CollectionAssert.AreEqual(values.Select(BitConverter.SingleToInt32Bits).ToArray(), actual[name].Select(BitConverter.SingleToInt32Bits).ToArray(), name);
    }

    private static TempFolder Data()
    {
        var folder = new TempFolder();
        Datasets.Write(folder["data"], 5, 100, i => [i % 3, i % 7 / 7f, i % 5 / 5f, 1, -(i % 3)], i => i % 3);
        return folder;
    }

    private static void AssertClose(double[] expected, double[] actual)
    {
        Assert.HasCount(expected.Length, actual);
        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], actual[i], 1e-4 * Math.Abs(expected[i]), $"Step {i + 1}");
    }
}
