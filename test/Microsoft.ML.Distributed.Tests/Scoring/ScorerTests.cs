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
    public void Create_ForeignGraph_FallsBackToOnnxRuntimeWithTheSameScores()
    {
        var (spec, model) = Network();
        var onnx = model.ToByteArray();
        // Tanh is not in our vocabulary.
        model.Graph.Node.Single(n => n.OpType == "Relu").OpType = "Tanh";

        using var managed = Scorer.Create(onnx);
        using var foreign = Scorer.Create(model.ToByteArray());

        Assert.IsInstanceOfType<DenseStack>(managed);
        Assert.IsInstanceOfType<OnnxRuntimeScorer>(foreign);
        var score = new float[spec.Module.Mlp.OutputSize];
        foreign.CreateRunner()(new float[spec.Module.Mlp.InputSize], score);
        Assert.AreEqual(1, score.Sum(), 1e-5);
    }

    [TestMethod]
    public void Create_ChangedWiring_IsNotTakenForOurs()
    {
        Action<ModelProto>[] changes =
        [
            m => m.Graph.Node.Single(n => n.OpType == "LayerNormalization").Attribute[0].I = 0,
            m => m.Graph.Node.Single(n => n.OpType == "Softmax").Attribute[0].I = 0,
            m => m.Graph.Node.First(n => n.OpType == "Gemm").Attribute.Add(new AttributeProto { Name = "alpha", F = 2, Type = AttributeProto.Types.AttributeType.Float }),
            m => m.Graph.Node.Single(n => n.OpType == "Where").Input[1] = "features.scale",
            m => m.Graph.Node.Single(n => n.OpType == "Sub").Input[0] = "features",
        ];
        foreach (var change in changes)
        {
            var (_, model) = Network(LayerNormalization.Layer);
            change(model);
            using var scorer = Scorer.Create(model.ToByteArray());
            Assert.IsInstanceOfType<OnnxRuntimeScorer>(scorer, model.ToString());
        }
    }

    [TestMethod]
    public void Create_DamagedBytes_SaysSo()
    {
        var (_, model) = Network();
        var onnx = model.ToByteArray();

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Scorer.Create(onnx[..^7])).Message, "cannot be read");
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Scorer.Create([])).Message, "has no graph");
        model.Graph.Output[0].Name = "other";
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Scorer.Create(model.ToByteArray())).Message, "no output \"score\"");
    }

    [TestMethod]
    public void Score_ManyThreads_EachGetsItsOwnRow()
    {
        var (spec, model) = Network();
        using var scorer = Scorer.Create(model.ToByteArray());
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
        using var scorer = Scorer.Create(model.ToByteArray());
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
        using var scorer = Scorer.Create(model.ToByteArray());
        var score = new float[3];

        scorer.CreateRunner()([10, 1], score);

        CollectionAssert.AreEqual(new float[] { 1, 0, 0 }, score);
    }

    private static (JobSpec Spec, ModelProto Model) Network(LayerNormalization normalization = LayerNormalization.None)
    {
        var random = new Random(11);
        var spec = RandomNetworks.Spec(random, MlTask.Multiclass, 13, 4, [17], Activation.Relu, normalization, isScaled: true);
        return (spec, OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)));
    }
}
