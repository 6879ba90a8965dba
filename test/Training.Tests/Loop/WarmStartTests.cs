using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training;

namespace Training.Tests.Loop;

/// <summary>A training that starts from a model goes on where that was, and averages are what is validated and returned.</summary>
[TestClass]
public sealed class WarmStartTests
{
    private const int Rows = 96;

    [TestMethod]
    [DataRow(LayerNormalization.None, 1), DataRow(LayerNormalization.Batch, 1), DataRow(LayerNormalization.Batch, 2), DataRow(LayerNormalization.Layer, 2)]
    public void Train_FromAModel_MakesTheStepThatWouldHaveBeenTheNext(LayerNormalization normalization, int ranks)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        // All rows a step, and an optimizer without a memory: an epoch more is the same as one from the model.
        var spec = Spec(s => (s.Module.Mlp.Normalization, s.Epochs) = (normalization, 6));
        var longer = Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        spec.Epochs = 5;
        Write(folder["model"], spec, Cluster.Train(spec, 1, folder["data"]).ShouldSucceed());
        spec.Epochs = 1;

        var next = Cluster.Train(spec, ranks, folder["data"], startPath: folder["model"]).ShouldSucceed();

        Assert.AreEqual(longer.Losses[5], next.Losses[0], 1e-5);
        foreach (var (name, values) in longer.Tensors)
            for (var i = 0; i < values.Length; i++)
                Assert.AreEqual(values[i], next.Tensors[name][i], 1e-4, name);
    }

    [TestMethod]
    public void Train_FromAModelOfOtherLayers_IsRefused()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        var spec = Spec(s => s.Epochs = 1);
        Write(folder["model"], spec, Cluster.Train(spec, 1, folder["data"]).ShouldSucceed());

        foreach (var (other, expected) in new (Action<JobSpec>, string)[]
        {
            (s => s.Module.Mlp.HiddenSizes[0] = 2000, "The model to start from has"),
            (s => s.Module.Mlp.HiddenSizes[0]++, "layers.0.weight"),
            (s => s.Module.Mlp.Activation = Activation.Gelu, "Gelu"),
        })
        {
            var failure = Assert.IsInstanceOfType<TrainingException>(Cluster.Train(Spec(other), 1, folder["data"], startPath: folder["model"]).Failures[0]);
            Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
            StringAssert.Contains(failure.Message, expected);
        }
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_FromAModelAndFromItsCheckpoint_TakesTheCheckpoint(int ranks)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        var spec = Spec(s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 });
        Write(folder["model"], spec, Cluster.Train(spec, 1, folder["data"]).ShouldSucceed());
        var whole = Cluster.Train(spec, ranks, folder["data"], startPath: folder["model"]).ShouldSucceed();
        File.WriteAllBytes(folder["checkpoint"], whole.Recorders[0].Checkpoints[0].Content);

        var rest = Cluster.Train(spec, ranks, folder["data"], folder["checkpoint"]).ShouldSucceed();

        CollectionAssert.AreEqual(whole.Losses[1..], rest.Losses);
    }

    [TestMethod, DataRow(1), DataRow(3)]
    public void Train_WithAveraging_ValidatesAndReturnsTheAverage(int ranks)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        var spec = Spec(s =>
        {
            (s.Epochs, s.Optimizer.AveragingDecay) = (20, 0.9);
            s.Data.ValidationDatasetId = new string('0', 64);
        });
        var averaged = Cluster.Train(spec, ranks, folder["data"], validationPath: folder["data"]).ShouldSucceed();
        Write(folder["model"], spec, averaged);
        spec.Optimizer.AveragingDecay = 0;
        var raw = Cluster.Train(spec, ranks, folder["data"], validationPath: folder["data"]).ShouldSucceed();
        (spec.Epochs, spec.Optimizer.LearningRate) = (1, 1e-12);

        var looked = Cluster.Train(spec, ranks, folder["data"], startPath: folder["model"]).ShouldSucceed();

        CollectionAssert.AreEqual(raw.Losses, averaged.Losses, "The steps are those of the weights themselves.");
        Assert.AreEqual(averaged.Result.ValidationLoss, looked.Losses[0], 1e-5, "What was validated is what is returned.");
        Assert.IsGreaterThan(raw.Result.ValidationLoss + 1e-4, averaged.Result.ValidationLoss, "An average lags behind a loss that falls.");
    }

    private static JobSpec Spec(Action<JobSpec> change) => Cluster.Spec(s =>
    {
        (s.GlobalBatchSize, s.Optimizer) = (Rows, new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.1 });
        change(s);
    });

    private static void Write(string path, JobSpec spec, Run run) => File.WriteAllBytes(path, OnnxMlpWriter.Write(spec, run.Tensors).ToByteArray());
}
