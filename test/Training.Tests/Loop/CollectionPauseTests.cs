using System.Runtime.CompilerServices;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace Training.Tests.Loop;

[TestClass]
public sealed class CollectionPauseTests
{
    private const int Steps = 150;
    private const int ThreadCount = 2;
    private const int BlocksAStep = 4000;

    [TestMethod]
    public void BetweenSteps_ThreadsAllocateBeside_NoCollectionComesInsideAStep()
    {
        set_num_threads(1);
        using var parameters = ones(64, 64).requires_grad_();
        using var features = ones(16, 64);
        using var pause = new CollectionPause();
        var before = GC.CollectionCount(0);
        var inside = CollectionsInside(() =>
        {
            // Temporaries that a collection would finalise under the native calls' feet.
            using var scope = NewDisposeScope();
            for (var i = 0; i < 20; i++)
                features.matmul(parameters).add(1).relu().sum().backward();
        }, pause.BetweenSteps);
        Assert.AreEqual(0, inside);
        Assert.IsGreaterThan(before, GC.CollectionCount(0), "Nothing was collected at all: the threads allocate too little to show anything.");
    }

    [TestMethod]
    public void BetweenSteps_SomeMegabytesOfGarbage_AreCollected()
    {
        using var pause = new CollectionPause();
        var before = GC.GetTotalMemory(forceFullCollection: false);
        for (var step = 0; step < 64; step++)
        {
            MakeGarbage();
            pause.BetweenSteps();
        }

        Assert.IsLessThan(before + (16 << 20), GC.GetTotalMemory(forceFullCollection: false), "Bytes of managed memory.");

        static void MakeGarbage()
        {
            for (var i = 0; i < 1000; i++)
                GC.KeepAlive(new byte[1000]);
        }
    }

    [TestMethod]
    public void Train_ThreadsAllocateBeside_NoCollectionComesInsideAStepOrValidation()
    {
        using var folder = new TempFolder();
        // More of each than the memory that the pause has without a collection.
        Datasets.WriteClouds(folder["data"], 640);
        Datasets.WriteClouds(folder["validation"], 640, seed: 99);
        var inside = new StrongBox<int>();
        var before = GC.CollectionCount(0);
        Cluster.Train(Cluster.Spec(s => s.Epochs = 5), 1, folder["data"], validationPath: folder["validation"], configure: r => r.Value with { Module = s => new SourceAround(new MlpSource(s.Module.Mlp, s.Seed), m => new BusyModule(m, inside)) }).ShouldSucceed();
        Assert.AreEqual(0, inside.Value);
        Assert.IsGreaterThan(before, GC.CollectionCount(0), "Nothing was collected at all: too little is allocated to show anything.");
    }

    [TestMethod]
    [DataRow("1000000", DisplayName = "16 MiB")]
    [DataRow("2000000", DisplayName = "32 MiB")]
    [DataRow(null, DisplayName = "no limit")]
    public async Task BetweenSteps_HeapIsLimited_NoCollectionComesInsideAStep(string? limit)
    {
        var outcome = await SmallHeap.StartAsync(kilobytesAStep: 40, limit);
        Assert.AreEqual((0, 0, 0), (outcome.Inside, outcome.Noted, outcome.Warnings), outcome.ToString());
        Assert.IsGreaterThan(0, outcome.Between, "Nothing was collected at all: too little is allocated to show anything.");
    }

    [TestMethod]
    public async Task BetweenSteps_StepsThatAllocateMoreThanTheHeapGives_AreCountedAndToldOnce()
    {
        var outcome = await SmallHeap.StartAsync(kilobytesAStep: 4000, "1000000");
        Assert.IsGreaterThan(0, outcome.Inside, outcome.ToString());
        Assert.AreEqual(outcome.Inside, outcome.Noted, outcome.ToString());
        Assert.AreEqual(1, outcome.Warnings);
    }

    [TestMethod]
    public void Steps_WithoutAPause_AreInterrupted() => Assert.IsGreaterThan(0, CollectionsInside(() => { }, () => { }));

    // Other threads allocate 8 MB during each step: half a minute of a real rank's chatter.
    private static int CollectionsInside(Action step, Action between)
    {
        using var meeting = new Barrier(ThreadCount + 1);
        var kept = new byte[ThreadCount][];
        var threads = Enumerable.Range(0, ThreadCount).Select(t => new Thread(() =>
        {
            for (var i = 0; i < Steps; i++)
            {
                meeting.SignalAndWait();
                for (var block = 0; block < BlocksAStep; block++)
                    kept[t] = new byte[1000];
                meeting.SignalAndWait();
            }
        })).ToArray();
        foreach (var thread in threads)
            thread.Start();
        var inside = 0;
        for (var i = 0; i < Steps; i++)
        {
            var before = GC.CollectionCount(0);
            meeting.SignalAndWait();
            step();
            meeting.SignalAndWait();
            inside += GC.CollectionCount(0) - before;
            between();
        }

        foreach (var thread in threads)
            thread.Join();
        return inside;
    }

    // Counts the collections between the start of a step, or of a batch's validation, and its end. Another thread
    // allocates 8 MB meanwhile.
    private sealed class BusyModule(ITrainedModule module, StrongBox<int> inside) : ModuleAround(module)
    {
        private int _before;

        public override Tensor Forward(Batch batch, long step)
        {
            _before = GC.CollectionCount(0);
            var outputs = base.Forward(batch, step);
            AllocateBeside();
            return outputs;
        }

        public override void Backward(Tensor loss, int globalRows)
        {
            base.Backward(loss, globalRows);
            inside.Value += GC.CollectionCount(0) - _before;
        }

        public override Tensor Predict(Tensor features)
        {
            _before = GC.CollectionCount(0);
            AllocateBeside();
            var outputs = base.Predict(features);
            inside.Value += GC.CollectionCount(0) - _before;
            return outputs;
        }

        private static void AllocateBeside()
        {
            var thread = new Thread(() =>
            {
                for (var block = 0; block < ThreadCount * BlocksAStep; block++)
                    GC.KeepAlive(new byte[1000]);
            });
            thread.Start();
            thread.Join();
        }
    }
}
