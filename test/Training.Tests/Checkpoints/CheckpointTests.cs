using System.Diagnostics;
using System.Text;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Weights;
using Training.Tests.Loop;

namespace Training.Tests.Checkpoints;

[TestClass]
public sealed class CheckpointTests
{
    [TestMethod, DataRow(1, 3), DataRow(4, 2)]
    public void Resume_WithinAnEpoch_GoesOnWithTheNextStep(int first, int second)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var spec = Spec(s =>
        {
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
            s.Data.ValidationFraction = 0.2;
            s.Checkpoint.IntervalSeconds = 1e-9;
        });
        var whole = Cluster.Train(spec, first, folder["data"]).ShouldSucceed();
        Assert.HasCount(24 + 2, whole.Recorders[0].Checkpoints);
        foreach (var step in new[] { 3, 8, 13 })
        {
            File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints.First(c => c.Step == step).Content);
            var rest = Cluster.Train(spec, second, folder["data"], folder["checkpoint"]).ShouldSucceed();
            CollectionAssert.AreEqual(Enumerable.Range(step + 1, 24 - step).Select(i => (long)i).ToArray(), rest.Recorders[0].Losses.Select(l => l.Step).ToArray());
            for (var i = 0; i < rest.Losses.Length; i++)
                Assert.AreEqual(whole.Losses[step + i], rest.Losses[i], 1e-4 * Math.Abs(whole.Losses[step + i]), $"step {step + i + 1}");
            for (var epoch = 0; epoch < 3; epoch++)
                Assert.AreEqual(whole.Result.History[epoch].TrainingLoss, rest.Result.History[epoch].TrainingLoss, 1e-4, $"epoch {epoch}");
        }
    }

    [TestMethod]
    public void Checkpoint_AfterSomeTime_ComesWithinAnEpoch()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var run = Cluster.Train(Spec(s => s.Checkpoint.IntervalSeconds = 3600), 2, folder["data"]).ShouldSucceed();
        CollectionAssert.AreEqual(new long[] { 10, 20 }, run.Recorders[0].Checkpoints.Select(c => c.Step).ToArray());
        var never = Cluster.Train(Spec(s => s.Checkpoint = new CheckpointSpec { IntervalSeconds = 1e-9 }), 2, folder["data"]).ShouldSucceed();
        Assert.IsEmpty(never.Recorders[0].Checkpoints);
    }

    [TestMethod, DataRow(1, 2.0, "4 7"), DataRow(3, 2.0, "4 7"), DataRow(1, 0.0, "1 2 3 4 5 6 7 8 9"), DataRow(1, 60.0, "")]
    public void Checkpoint_AtTheEndOfShortEpochs_IsLeftOutUntilItsTime(int world, double minSeconds, string epochs)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 32);
        var time = new HandClock();
        var run = Cluster.Train(Spec(s => (s.Epochs, s.Checkpoint.MinIntervalSeconds) = (10, minSeconds)), world, folder["data"],
            configure: e => e.Value with { Time = time },
            onStarted: (rank, recorder) => recorder.OnEpoch = _ => time.Advance(TimeSpan.FromSeconds(0.7))).ShouldSucceed();
        Assert.AreEqual(epochs, string.Join(' ', run.Recorders[0].Checkpoints.Select(c => c.Epoch)));
    }

    [TestMethod, DataRow(true, "11"), DataRow(false, "")]
    public void Checkpoint_AskedForOutOfTurn_ComesWithTheNextStepUnlessThereAreToBeNone(bool hasCheckpoints, string steps)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var run = Cluster.Train(Spec(s => s.Checkpoint = hasCheckpoints ? new CheckpointSpec { IntervalEpochs = 100 } : null), 3, folder["data"],
            onStarted: (_, recorder) => recorder.OnEpoch = r => r.IsCheckpointWanted = r.Epochs.Count == 1).ShouldSucceed();
        Assert.AreEqual(steps, string.Join(' ', run.Recorders[0].Checkpoints.Select(c => c.Step)));
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Read_DamagedAnywhere_IsTold(int world)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var spec = Spec(s =>
        {
            s.Module.Mlp.Normalization = LayerNormalization.Batch;
            s.Data.ValidationFraction = 0.2;
        });
        var content = Cluster.Train(spec, world, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints[0].Content;
        var dataStart = 8 + (int)BitConverter.ToInt64(content);
        var random = new Random(world);
        for (var trial = 0; trial < 10; trial++)
        {
            var damaged = content.ToArray();
            // The first and the last byte of the data, and some between.
            damaged[trial switch { 0 => dataStart, 1 => damaged.Length - 1, _ => random.Next(dataStart, damaged.Length) }] ^= 1;
            File.WriteAllBytes(folder["checkpoint"], damaged);
            var failures = Cluster.Train(spec, 2, folder["data"], folder["checkpoint"]).Failures.Cast<TrainingException>().ToArray();
            Assert.AreEqual(FailureKind.CheckpointDamaged, failures[0].Failure.Kind);
            Assert.IsFalse(failures[0].IsBystander);
            StringAssert.Contains(failures[0].Message, "it is damaged.");
        }
    }

    [TestMethod]
    public void Read_HeaderDamagedAnywhere_IsTold()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var content = Cluster.Train(Spec(), 1, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints[0].Content;
        var random = new Random(1);
        var said = Encoding.ASCII.GetString(content).IndexOf("}}", StringComparison.Ordinal) + 2;
        for (var trial = 0; trial < 20; trial++)
        {
            var damaged = content.ToArray();
            damaged[random.Next(said)] ^= (byte)(1 << random.Next(8));
            File.WriteAllBytes(folder["checkpoint"], damaged);
            var failure = Cluster.Train(Spec(), 1, folder["data"], folder["checkpoint"]).Failures[0] as TrainingException;
            Assert.AreEqual(FailureKind.CheckpointDamaged, failure?.Failure.Kind);
        }
    }

    [TestMethod, DataRow("header"), DataRow("cut off"), DataRow("empty"), DataRow("missing")]
    public void Read_NotACheckpoint_IsTold(string damage)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 64);
        var content = Cluster.Train(Spec(), 1, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints[0].Content;
        if (damage == "header")
            content.AsSpan(8, 2000).Fill((byte)'{');
        if (damage != "missing")
            File.WriteAllBytes(folder["checkpoint"], damage switch { "cut off" => content[..^1], "empty" => [], _ => content });
        var failures = Cluster.Train(Spec(), 2, folder["data"], folder["checkpoint"]).Failures.Cast<TrainingException>().Where(f => !f.IsBystander).ToArray();
        Assert.IsNotEmpty(failures);
        foreach (var failure in failures)
        {
            Assert.AreEqual(FailureKind.CheckpointDamaged, failure.Failure.Kind);
            StringAssert.Contains(failure.Message, "cannot be read (");
        }
    }

    [TestMethod]
    public void Checkpoint_AnyNumberOfRanks_WritesTheSameData()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 300);
        var spec = Spec(s => s.BitExact = new BitExactSpec { MicroBatches = 8 });
        var expected = Data(1);
        foreach (var world in new[] { 2, 5 })
            CollectionAssert.AreEqual(expected, Data(world));

        float[] Data(int world)
        {
            File.WriteAllBytes(folder["checkpoint"], Cluster.Train(spec, world, folder["data"]).ShouldSucceed().Recorders[0].Checkpoints[1].Content);
            using var reader = new SafetensorsReader(folder["checkpoint"]);
            return [.. reader.Names.Where(name => name != CheckpointLayout.Header).SelectMany(reader.Read)];
        }
    }

    [TestMethod]
    public void Checkpoint_DiskThatHangs_TrainingGoesOn()
    {
        if (!OperatingSystem.IsLinux())
            Assert.Inconclusive("Needs mkfifo: a file whose opening waits for a reader.");
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], 100);
        var output = "";
        var run = Cluster.Train(Spec(), 1, folder["data"], prepareOutput: path =>
        {
            output = Path.Combine(path, "checkpoint-00000004.safetensors.part");
            using var mkfifo = Process.Start("mkfifo", [output]);
            Assert.IsTrue(mkfifo.WaitForExit(Cluster.Bound));
        }, configure: e => e.Value with { WaitForCheckpoints = false }, onStarted: (rank, recorder) =>
        {
            if (rank == 0)
                recorder.OnEpoch = r => EndHang(r.Epochs.Count);
        }).ShouldSucceed();
        Assert.HasCount(3, run.Result.History);
        StringAssert.Contains(run.Recorders[0].Logs.Single().Message, "Checkpoint of step 4 (epoch 1) could not be written (");

        // All three epochs have come with the first one's checkpoint stuck: now it goes on, to a pipe that nobody reads.
        void EndHang(int epoch)
        {
            if (epoch == 3)
                new FileStream(output, FileMode.Open, FileAccess.Read).Dispose();
        }
    }

    private static JobSpec Spec(Action<JobSpec>? change = null) => Cluster.Spec(s =>
    {
        s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 };
        change?.Invoke(s);
    });
}
