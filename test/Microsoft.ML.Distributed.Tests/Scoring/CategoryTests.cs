using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Networks with columns of categories, scored by managed code and ONNX Runtime.</summary>
[TestClass]
public sealed class CategoryTests
{
    private static readonly float[] s_ids = [0, 1, 2, 3, 4, 7, -1, 1e9f, float.NaN, float.PositiveInfinity, float.NegativeInfinity];

    public static IEnumerable<object[]> Networks =>
        from task in new[] { MlTask.Multiclass, MlTask.Binary, MlTask.Regression }
        from normalization in new[] { LayerNormalization.None, LayerNormalization.Batch }
        from isScaled in new[] { true, false }
        from depth in new[] { 0, 2 }
        from numbers in new[] { 0, 5 }
        select new object[] { task, normalization, isScaled, depth, numbers };

    [TestMethod, DynamicData(nameof(Networks))]
    public void Score_AnyIds_IsThatOfTheTablesRows(MlTask task, LayerNormalization normalization, bool isScaled, int depth, int numbers)
    {
        var random = new Random(numbers + depth);
        var outputs = task == MlTask.Multiclass ? 3 : 1;
        var spec = Spec(random, task, outputs, normalization, isScaled, depth, numbers);
        var mlp = spec.Module.Mlp;
        var tensors = RandomNetworks.Weights(random, mlp);
        var onnx = OnnxMlpWriter.Write(spec, tensors).ToByteArray();
        using var managed = DenseStack.Read(onnx, spec);
        using var reference = new OnnxRuntimeScorer(onnx, mlp.InputSize, outputs);
        using var plain = DenseStack.Read(OnnxMlpWriter.Write(Plain(spec), tensors.Where(t => !t.Key.StartsWith("categories", StringComparison.Ordinal)).ToDictionary()).ToByteArray(), Plain(spec));
        Assert.AreEqual(mlp.InputSize, managed.InputSize);
        var (run, runReference, runPlain) = (managed.CreateRunner(), reference.CreateRunner(), plain.CreateRunner());
        var (score, referenceScore, expected) = (new float[outputs], new float[outputs], new float[outputs]);
        for (var i = 0; i < s_ids.Length; i++)
        {
            float[] x = [.. RandomNetworks.Values(random, numbers, 4), s_ids[i], s_ids[^(i + 1)]];
            run(x, score);
            runReference(x, referenceScore);
            runPlain([.. x.Take(numbers), .. Row(0, s_ids[i]), .. Row(1, s_ids[^(i + 1)])], expected);
            for (var k = 0; k < outputs; k++)
            {
                Assert.AreEqual(expected[k], score[k], 1e-5 * Math.Max(1, Math.Abs(expected[k])), $"managed, ids {s_ids[i]} and {s_ids[^(i + 1)]}");
                Assert.AreEqual(expected[k], referenceScore[k], 1e-5 * Math.Max(1, Math.Abs(expected[k])), $"ONNX Runtime, ids {s_ids[i]} and {s_ids[^(i + 1)]}");
            }
        }

        float[] Row(int category, float id)
        {
            var (width, row) = (mlp.Categories[category].Width, id > 0 && id <= mlp.Categories[category].KeyCount ? (int)id : 0);
            return tensors[CategorySpec.TableName(category)][(row * width)..((row + 1) * width)];
        }
    }

    [TestMethod]
    public void Read_OtherTable_IsRefused()
    {
        var random = new Random(1);
        var spec = Spec(random, MlTask.Binary, 1, LayerNormalization.None, isScaled: true, depth: 1, numbers: 2);
        var onnx = OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)).ToByteArray();
        spec.Module.Mlp.Categories[0].KeyCount--;
        spec.Module.Mlp.Categories[0].Width = 8;

        var e = Assert.ThrowsExactly<FormatException>(() => DenseStack.Read(onnx, spec));

        StringAssert.Contains(e.Message, "is not \"categories.0.weight\" [4, 8], which belongs there.");
    }

    [TestMethod]
    public void Score_Row_AllocatesNothing()
    {
        var random = new Random(1);
        var spec = Spec(random, MlTask.Binary, 1, LayerNormalization.None, isScaled: true, depth: 1, numbers: 2);
        using var scorer = DenseStack.Read(OnnxMlpWriter.Write(spec, RandomNetworks.Weights(random, spec.Module.Mlp)).ToByteArray(), spec);
        var (runner, row, score) = (scorer.CreateRunner(), new float[] { 1, 2, 3, 1 }, new float[1]);
        runner(row, score);
        var before = GC.GetAllocatedBytesForCurrentThread();

        for (var i = 0; i < 100; i++)
            runner(row, score);

        Assert.AreEqual(before, GC.GetAllocatedBytesForCurrentThread());
    }

    private static JobSpec Spec(Random random, MlTask task, int outputs, LayerNormalization normalization, bool isScaled, int depth, int numbers)
    {
        var spec = RandomNetworks.Spec(random, task, numbers + 2, outputs, [.. Enumerable.Repeat(6, depth)], Activation.Relu, normalization, isScaled);
        spec.Module.Mlp.Categories.Add([new CategorySpec { KeyCount = 4, Width = 3 }, new CategorySpec { KeyCount = 3, Width = 1 }]);
        foreach (var slot in isScaled ? spec.Module.UnscaledSlots() : [])
            (spec.Data.Features.Mean[slot], spec.Data.Features.Scale[slot]) = (0, 1);
        if (isScaled && numbers > 0)
            spec.Module.Mlp.Steps = new FeatureStepsSpec { Slot = { 0, 2, 2 }, Start = { 0, -1, 0 }, Scale = { 1, 1, 0.5f } };
        return spec;
    }

    // The same network of rows that have the tables' numbers in them.
    private static JobSpec Plain(JobSpec spec)
    {
        var plain = spec.Clone();
        plain.Module.Mlp.InputSize = spec.Module.Mlp.NumberSize + spec.Module.Mlp.EmbeddedSize;
        plain.Module.Mlp.Categories.Clear();
        if (plain.Data.Features is { } scaling)
            foreach (var (values, value) in new[] { (scaling.Mean, 0f), (scaling.Scale, 1f) })
            {
                while (values.Count > spec.Module.Mlp.NumberSize)
                    values.RemoveAt(values.Count - 1);
                values.Add(Enumerable.Repeat(value, spec.Module.Mlp.EmbeddedSize));
            }

        return plain;
    }
}
