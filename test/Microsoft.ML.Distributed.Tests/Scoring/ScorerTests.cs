using Microsoft.ML.Data;
using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ScorerTests
{
    [TestMethod]
    public void Gelu_EveryMagnitude_IsExactToAMillionth()
    {
        var values = Enumerable.Range(-1203, 2407).Select(i => i / 100f).ToArray();
        var applied = values.ToArray();

        Gelu.Apply(applied);

        for (var i = 0; i < values.Length; i++)
            Assert.AreEqual(Reference.Gelu(values[i]), applied[i], 1e-6 * Math.Max(1, Math.Abs(values[i])), $"at {values[i]}");
    }

    [TestMethod]
    public void Score_ManyThreads_EachGetsItsOwnRow()
    {
        var (spec, model) = Network();
        using var scorer = DenseStack.Read(model.ToByteArray(), spec);
        var random = new Random(3);
        var rows = Enumerable.Range(0, 200).Select(_ => RandomNetworks.Values(random, spec.Module.Mlp.InputSize, 2)).ToArray();
        var expected = rows.Select(r => Score(scorer.CreateRunner(), r)).ToArray();

        Parallel.For(0, 16, _ =>
        {
            var runner = scorer.CreateRunner();
            for (var i = 0; i < rows.Length; i++)
                CollectionAssert.AreEqual(expected[i], Score(runner, rows[i]));
        });

        float[] Score(RowScorer runner, float[] row)
        {
            var score = new float[spec.Module.Mlp.OutputSize];
            runner(row, score);
            return score;
        }
    }

    [TestMethod]
    public void Score_Row_AllocatesNothing()
    {
        var (spec, model) = Network();
        using var scorer = DenseStack.Read(model.ToByteArray(), spec);
        var runner = scorer.CreateRunner();
        var (row, score) = (new float[spec.Module.Mlp.InputSize], new float[spec.Module.Mlp.OutputSize]);
        runner(row, score);
        var before = GC.GetAllocatedBytesForCurrentThread();

        for (var i = 0; i < 100; i++)
            runner(row, score);

        Assert.AreEqual(before, GC.GetAllocatedBytesForCurrentThread());
    }

    [TestMethod]
    public void Score_LargeLogits_StaysAProbability()
    {
        var spec = RandomNetworks.Spec(new Random(1), MlTask.Multiclass, 2, 3, [], Activation.Relu, LayerNormalization.None, isScaled: false);
        var model = OnnxMlpWriter.Write(spec, new Dictionary<string, float[]> { ["layers.0.weight"] = [500, 0, 0, 500, 1, 1], ["layers.0.bias"] = [0, 0, 0] });
        using var scorer = DenseStack.Read(model.ToByteArray(), spec);
        var score = new float[3];

        scorer.CreateRunner()([10, 1], score);

        // Not 0, whose logarithm no log-loss survives.
        CollectionAssert.AreEqual(new float[] { 1, 1e-15f, 1e-15f }, score);
        CollectionAssert.AreEqual(score, ByOnnxRuntime(model, OnnxMlpWriter.Score, [10, 1], 3));
    }

    [TestMethod, DataRow(0f, 0.5f), DataRow(18f, 1 - 1e-7f), DataRow(90f, 1 - 1e-7f), DataRow(float.MaxValue, 1 - 1e-7f), DataRow(-18f, 1e-7f), DataRow(-90f, 1e-7f), DataRow(float.MinValue, 1e-7f), DataRow(3f, 0.95257413f)]
    public void Score_AnyLogit_HasAProbabilityWithAFiniteLogLoss(float logit, float expected)
    {
        var (_, model) = Identity();

        var scored = Sure([(logit, true)]);

        var probability = scored.GetColumn<float>("Probability").Single();
        Assert.AreEqual((logit, expected), (scored.GetColumn<float>("Score").Single(), probability));
        Assert.IsTrue(double.IsFinite(Math.Log(probability)) && double.IsFinite(Math.Log(1 - probability)));
        Assert.AreEqual(probability, ByOnnxRuntime(model, OnnxMlpWriter.Probability, [logit], 1)[0], 1e-6f);
        Assert.IsTrue(ByOnnxRuntime(model, OnnxMlpWriter.Probability, [logit], 1)[0] is > 0 and < 1);
    }

    [TestMethod]
    public void Evaluate_ModelThatIsSureAndWrong_HasAFiniteLogLoss() =>
        Assert.AreEqual(2 / 3.0 * -Math.Log2(1e-7), new MLContext().BinaryClassification.Evaluate(Sure([(100, false), (-100, true), (100, true)])).LogLoss, 0.2);

    [TestMethod]
    public void Create_ModelOfTheFirstRelease_IsStillScoredManaged()
    {
        foreach (var task in new[] { MlTask.Multiclass, MlTask.Binary })
        {
            var (random, outputs) = (new Random(5), task == MlTask.Binary ? 1 : 3);
            var spec = RandomNetworks.Spec(random, task, 4, outputs, [5], Activation.Relu, LayerNormalization.None, isScaled: true);
            var model = OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp));
            // It wrote no Clip, nor what it clips at.
            foreach (var bound in model.Graph.Initializer.Where(t => t.Name.EndsWith(".least", StringComparison.Ordinal) || t.Name.EndsWith(".most", StringComparison.Ordinal)).ToList())
                model.Graph.Initializer.Remove(bound);
            var clip = model.Graph.Node[^1];
            model.Graph.Node.RemoveAt(model.Graph.Node.Count - 1);
            model.Graph.Node[^1].Output[0] = clip.Output[0];
            using var scorer = DenseStack.Read(model.ToByteArray(), spec);
            var score = new float[outputs];
            scorer.CreateRunner()([1, 2, 3, 4], score);
            foreach (var (expected, actual) in ByOnnxRuntime(model, OnnxMlpWriter.Score, [1, 2, 3, 4], outputs).Zip(score))
                Assert.AreEqual(expected, actual, 1e-5f);
        }
    }

    // Rows scored by a model whose logit is the feature.
    private static IDataView Sure(IEnumerable<(float Logit, bool Label)> rows)
    {
        using var backend = new FakeBackend { Weights = _ => new() { ["layers.0.weight"] = [1], ["layers.0.bias"] = [0] } };
        var ml = new MLContext().UseCluster(backend);
        var trainer = ml.BinaryClassification.Trainers.DistributedNeuralNetwork(new DistributedBinaryTrainer.Options { HiddenLayers = [], NormalizeFeatures = false });
        var model = trainer.Fit(Load([(0, false), (1, true)]));
        return model.Transform(Load(rows));

        IDataView Load(IEnumerable<(float Logit, bool Label)> values) => ml.Data.LoadFromEnumerable(values.Select(v => new SureRow { Features = [v.Logit], Label = v.Label }).ToList());
    }

    private sealed class SureRow
    {
        [VectorType(1)]
        public float[] Features { get; set; } = [];

        public bool Label { get; set; }
    }

    // Its logit is its only feature.
    private static (JobSpec Spec, ModelProto Model) Identity()
    {
        var spec = RandomNetworks.Spec(new Random(1), MlTask.Binary, 1, 1, [], Activation.Relu, LayerNormalization.None, isScaled: false);
        return (spec, OnnxMlpWriter.Write(spec, new Dictionary<string, float[]> { ["layers.0.weight"] = [1], ["layers.0.bias"] = [0] }));
    }

    private static float[] ByOnnxRuntime(ModelProto model, string output, float[] row, int outputs)
    {
        using var scorer = new OnnxRuntimeScorer(model.ToByteArray(), row.Length, outputs);
        var result = new float[outputs];
        scorer.Run(row, 1, output, result);
        return result;
    }

    private static (JobSpec Spec, ModelProto Model) Network(LayerNormalization normalization = LayerNormalization.None)
    {
        var random = new Random(11);
        var spec = RandomNetworks.Spec(random, MlTask.Multiclass, 13, 4, [17], Activation.Relu, normalization, isScaled: true);
        return (spec, OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)));
    }
}
