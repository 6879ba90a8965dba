using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using MLDistributed.Bench;

namespace Cluster.Tests;

/// <summary>TorchScript files of Python's, from the file to a model that scores without libtorch.</summary>
[TestClass]
public sealed class TorchScriptTests
{
    [TestMethod]
    public void Multiclass_ScriptOfPythons_LearnsTheSameOnOneAndTwoRanksAndSurvivesSaveAndLoad()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var models = new[] { 1, 2 }.Select(ranks => ml.MulticlassClassification.Trainers.DistributedTorchScript(
            PathOf("steps.pt"), new() { Epochs = 12, LearningRate = 0.02, MinRanks = ranks, MaxRanks = ranks }).Fit(split.TrainSet)).ToArray();

        var scored = models.Select(m => m.Transform(split.TestSet)).ToArray();
        Assert.IsGreaterThanOrEqualTo(0.7, ml.MulticlassClassification.Evaluate(scored[1]).MicroAccuracy);
        var (one, two) = (scored[0].GetColumn<float[]>("Score").ToArray(), scored[1].GetColumn<float[]>("Score").ToArray());
        Assert.IsLessThan(0.01, one.Zip(two, (a, b) => a.Zip(b, (x, y) => Math.Abs(x - y)).Max()).Average());
        using var file = new MemoryStream();
        ml.Model.Save(models[1], split.TrainSet.Schema, file);
        file.Position = 0;
        var again = new MLContext().Model.Load(file, out _).Transform(split.TestSet);
        CollectionAssert.AreEqual(scored[1].GetColumn<uint>("PredictedLabel").ToArray(), again.GetColumn<uint>("PredictedLabel").ToArray());
        Assert.DoesNotContain("libtorch", File.ReadAllText("/proc/self/maps"), "The app that trains has loaded libtorch.");
    }

    [TestMethod]
    public void Multiclass_ScriptWithFixedStatistics_LearnsDigits()
    {
        var ml = SharedCluster.NewContext();
        var split = ml.Data.TrainTestSplit(DataSets.Digits(ml), 0.2);

        var model = ml.MulticlassClassification.Trainers.DistributedTorchScript(PathOf("convolutional.pt"), new() { Epochs = 12, LearningRate = 0.01 }, PathOf("convolutional-dynamic.onnx")).Fit(split.TrainSet);

        Assert.IsGreaterThanOrEqualTo(0.9, ml.MulticlassClassification.Evaluate(model.Transform(split.TestSet)).MicroAccuracy);
    }

    [TestMethod]
    public void Regression_ScriptThatGoesOnFromAModel_BeginsWithItsNumbers()
    {
        var ml = SharedCluster.NewContext();
        var data = DataSets.Diabetes(ml);
        var first = ml.Regression.Trainers.DistributedTorchScript(PathOf("number.pt"), new() { Epochs = 20 }).Fit(data);
        Assert.IsGreaterThanOrEqualTo(0.3, ml.Regression.Evaluate(first.Transform(data)).RSquared);

        var again = ml.Regression.Trainers.DistributedTorchScript(PathOf("number.pt"), new() { Epochs = 1, LearningRate = 1e-9, WeightDecay = 0, StartFrom = first }).Fit(data);

        var scores = first.Transform(data).GetColumn<float>("Score").Zip(again.Transform(data).GetColumn<float>("Score"), (a, b) => Math.Abs(a - b)).Max();
        Assert.IsLessThan(0.1f, scores);
    }

    [TestMethod]
    [DataRow("future.pt", "dense.onnx", "TorchScript file \"future.pt\" could not be loaded: Unknown builtin op: aten::of_the_future", DisplayName = "an operator that libtorch does not know")]
    [DataRow("throwing.pt", "dense.onnx", "Module \"throwing.pt\" failed in its forward: InvalidOperationException: mat1 and mat2 shapes cannot be multiplied (2x64 and 9x10)", DisplayName = "one that throws")]
    [DataRow("statistics.pt", "convolutional.onnx", "Buffer \"features.1.running_mean\" of module \"statistics.pt\" changes in forward", DisplayName = "running statistics")]
    [DataRow("dense.pt", "smooth.onnx", "The ONNX file of TorchScript module \"dense.pt\" cannot be used", DisplayName = "another's ONNX")]
    public void Fit_ScriptThatCannotBeTrained_FailsOnceWithItsName(string script, string onnx, string message)
    {
        var ml = SharedCluster.NewContext();
        var states = new List<TrainingState>();
        var trainer = ml.MulticlassClassification.Trainers.DistributedTorchScript(PathOf(script), new() { Epochs = 1000, Progress = new Listener(p => states.Add(p.State)) }, PathOf(onnx));

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => trainer.Fit(DataSets.Digits(ml)));

        StringAssert.Contains(e.Message, message);
        Assert.DoesNotContain(TrainingState.Recovering, states);
    }

    [TestMethod]
    public void Trainer_FileThatIsNoScript_IsRefusedAtOnce()
    {
        var trainers = new MLContext().BinaryClassification.Trainers;
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => trainers.DistributedTorchScript(PathOf("state.pt"), onnxPath: PathOf("dense.onnx"))).Message, "\"state.pt\" has tensors and no code");
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => trainers.DistributedTorchScript(PathOf("dense.onnx"))).Message, "is no zip archive");
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => trainers.DistributedTorchScript(PathOf("newer.pt"), onnxPath: PathOf("dense.onnx"))).Message, "is of version 99");
        StringAssert.Contains(Assert.ThrowsExactly<FileNotFoundException>(() => trainers.DistributedTorchScript(PathOf("throwing.pt"))).Message, "throwing.onnx\" is not there, expected the ONNX file of the module in \"throwing.pt\"");
        Assert.ThrowsExactly<FileNotFoundException>(() => trainers.DistributedTorchScript(PathOf("none.pt"), onnxPath: PathOf("dense.onnx")));
    }

    [TestMethod]
    public async Task Fit_CoordinatorThatDeniesUserCode_RefusesAScriptToo()
    {
        await using var cluster = await RealCluster.StartAsync(workers: 0);
        using var connected = cluster.Connect();
        var ml = new MLContext(1).UseCluster(connected);

        var e = Assert.ThrowsExactly<ClusterException>(() => ml.Regression.Trainers.DistributedTorchScript(PathOf("number.pt")).Fit(DataSets.Diabetes(ml)));

        StringAssert.Contains(e.Message, "this coordinator denies user code");
    }

    private static string PathOf(string file) => Path.Combine(AppContext.BaseDirectory, "Scripts", file);
}
