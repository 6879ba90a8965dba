using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Models;
using TorchSharp;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>The ONNX file says what the module that was trained says.</summary>
[TestClass]
public sealed class OnnxFileTests
{
    private const int Rows = 33;

    public static IEnumerable<object[]> Combinations =>
        from task in new[] { MlTask.Multiclass, MlTask.Binary, MlTask.Regression, MlTask.Ranking }
        from activation in Enum.GetValues<Activation>()
        from normalization in Enum.GetValues<LayerNormalization>()
        from hidden in new int[][] { [], [19], [24, 7] }
        select new object[] { task, activation, normalization, hidden };

    [TestMethod, DynamicData(nameof(Combinations))]
    public void Write_AnyModule_ScoresAsTheModule(MlTask task, Activation activation, LayerNormalization normalization, int[] hidden)
    {
        var outputs = task == MlTask.Multiclass ? 4 : 1;
        var spec = new JobSpec
        {
            Task = task,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 6, OutputSize = outputs, HiddenSizes = { hidden }, Activation = activation, Normalization = normalization } },
            Data = new DataSpec { Label = task == MlTask.Regression ? new LabelScaling { Mean = 3, Scale = 0.5f } : null },
        };
        using var scope = NewDisposeScope();
        var layout = MlpSource.LayoutOf(spec.Module.Mlp);
        var random = new Random(hidden.Length + 1);
        var parameters = Enumerable.Range(0, (int)layout.ParameterLength).Select(_ => (float)(random.NextDouble() * 2 - 1)).ToArray();
        var flat = tensor(parameters);
        using var collective = Cluster.Alone();
        using var module = new Mlp(spec.Module.Mlp, layout, 1, 1, flat, zeros_like(flat), new StatisticsJoin(collective));
        for (var i = 0; i < module.Buffers.Length; i++)
            module.Buffers[i] = (float)random.NextDouble() + 0.5f;
        var features = Enumerable.Range(0, Rows * 6).Select(_ => (float)(random.NextDouble() * 4 - 2)).ToArray();

        float[] expected;
        using (no_grad())
        {
            var raw = module.Predict(tensor(features, [Rows, 6]));
            expected = (task switch
            {
                MlTask.Multiclass => raw.softmax(1),
                MlTask.Regression => raw.div(0.5).add(3),
                _ => raw,
            }).contiguous().data<float>().ToArray();
        }

        using var session = new InferenceSession(OnnxMlpWriter.Write(spec, new ModelWeights(parameters, module.Buffers).ByName(layout)).ToByteArray());
        using var results = session.Run([NamedOnnxValue.CreateFromTensor(OnnxMlpWriter.Features, new DenseTensor<float>(features, [Rows, 6]))]);
        var actual = results.First(r => r.Name == OnnxMlpWriter.Score).AsEnumerable<float>().ToArray();
        Assert.HasCount(Rows * outputs, actual);
        for (var i = 0; i < actual.Length; i++)
            Assert.AreEqual(expected[i], actual[i], 1e-5f * Math.Max(1, Math.Abs(expected[i])));
        if (task == MlTask.Binary)
        {
            var probabilities = results.First(r => r.Name == OnnxMlpWriter.Probability).AsEnumerable<float>().ToArray();
            for (var i = 0; i < actual.Length; i++)
                Assert.AreEqual(1 / (1 + MathF.Exp(-expected[i])), probabilities[i], 1e-5f);
        }
    }
}
