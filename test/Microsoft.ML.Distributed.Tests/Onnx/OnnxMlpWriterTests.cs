using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class OnnxMlpWriterTests
{
    public static IEnumerable<object[]> Networks =>
        from task in new[] { MlTask.Multiclass, MlTask.Binary, MlTask.Regression, MlTask.Ranking }
        from activation in new[] { Activation.Relu, Activation.Gelu }
        from normalization in new[] { LayerNormalization.None, LayerNormalization.Batch, LayerNormalization.Layer }
        from isScaled in new[] { true, false }
        from depth in new[] { 0, 1, 3 }
        select new object[] { task, activation, normalization, isScaled, depth };

    [TestMethod]
    [DynamicData(nameof(Networks))]
    public void Score_AnyNetwork_EqualsReferenceInOnnxRuntimeAndInManagedCode(MlTask task, Activation activation, LayerNormalization normalization, bool isScaled, int depth)
    {
        var random = new Random(HashCode.Combine(17, (int)task + (10 * depth)));
        var (inputs, outputs) = (3 + random.Next(30), task == MlTask.Multiclass ? 2 + random.Next(9) : 1);
        var spec = RandomNetworks.Spec(random, task, inputs, outputs, [.. Enumerable.Range(0, depth).Select(_ => 1 + random.Next(40))], activation, normalization, isScaled);
        var tensors = RandomNetworks.Weights(random, spec.Module.Mlp);
        var onnx = OnnxMlpWriter.Write(spec, tensors).ToByteArray();

        using var managed = DenseStack.Read(onnx, spec);
        using var reference = new OnnxRuntimeScorer(onnx, inputs, outputs);
        var (run, runReference) = (managed.CreateRunner(), reference.CreateRunner());
        var (score, referenceScore) = (new float[outputs], new float[outputs]);
        for (var row = 0; row < 20; row++)
        {
            var features = RandomNetworks.Values(random, inputs, 4);
            if (row % 3 == 0)
                features[random.Next(inputs)] = float.NaN;
            run(features, score);
            runReference(features, referenceScore);
            var expected = Reference.Score(spec, tensors, features);
            for (var k = 0; k < outputs; k++)
            {
                var tolerance = 1e-5 * Math.Max(1, Math.Abs(expected[k]));
                Assert.AreEqual(expected[k], referenceScore[k], tolerance, "ONNX Runtime");
                Assert.AreEqual(expected[k], score[k], tolerance, "managed");
                Assert.AreEqual(referenceScore[k], score[k], tolerance, "managed against ONNX Runtime");
            }
        }
    }

    [TestMethod]
    public void Write_Binary_GivesProbabilityOfLogit()
    {
        var random = new Random(5);
        var spec = RandomNetworks.Spec(random, MlTask.Binary, 6, 1, [8], Activation.Relu, LayerNormalization.None, isScaled: true);
        var onnx = OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)).ToByteArray();
        using var scorer = new OnnxRuntimeScorer(onnx, 6, 1);
        var rows = RandomNetworks.Values(random, 6 * 4, 2);
        var (logits, probabilities) = (new float[4], new float[4]);

        scorer.Run(rows, 4, OnnxMlpWriter.Score, logits);
        scorer.Run(rows, 4, OnnxMlpWriter.Probability, probabilities);

        for (var i = 0; i < 4; i++)
            Assert.AreEqual(1 / (1 + Math.Exp(-logits[i])), probabilities[i], 1e-6);
    }

    [TestMethod]
    public void Write_Model_CarriesVersionsAndMetadata()
    {
        var random = new Random(1);
        var spec = RandomNetworks.Spec(random, MlTask.Multiclass, 4, 3, [5], Activation.Gelu, LayerNormalization.Batch, isScaled: true);

        var model = OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp));

        Assert.AreEqual(10, model.IrVersion);
        Assert.AreEqual(20, model.OpsetImport.Single().Version);
        Assert.AreEqual("multiclass", model.MetadataProps.Single(p => p.Key == "task").Value);
        Assert.AreEqual("MLDistributed", model.MetadataProps.Single(p => p.Key == "producer").Value);
    }

    [TestMethod]
    public void Write_TensorOfWrongSize_NamesIt()
    {
        var random = new Random(1);
        var spec = RandomNetworks.Spec(random, MlTask.Multiclass, 4, 3, [5], Activation.Relu, LayerNormalization.Batch, isScaled: true);
        var tensors = RandomNetworks.Weights(random, spec.Module.Mlp);
        tensors["norms.0.running_var"] = new float[4];

        var error = Assert.ThrowsExactly<ArgumentException>(() => OnnxMlpWriter.Write(spec, tensors));

        StringAssert.Contains(error.Message, "\"norms.0.running_var\" has 4 values, expected 5");
        tensors.Remove("layers.1.bias");
        tensors["norms.0.running_var"] = new float[5];
        StringAssert.Contains(Assert.ThrowsExactly<ArgumentException>(() => OnnxMlpWriter.Write(spec, tensors)).Message, "\"layers.1.bias\" has no values, expected 3");
    }

    [TestMethod]
    public void Write_ConstantLabel_PredictsTheMean()
    {
        var random = new Random(1);
        var spec = RandomNetworks.Spec(random, MlTask.Regression, 4, 1, [5], Activation.Relu, LayerNormalization.None, isScaled: true);
        spec.Data.Label = new LabelScaling { Mean = 7, Scale = 0 };
        using var scorer = DenseStack.Read(OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)).ToByteArray(), spec);
        var score = new float[1];

        scorer.CreateRunner()([1, 2, 3, 4], score);

        Assert.AreEqual(7, score[0]);
    }
}
