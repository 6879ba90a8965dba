using Google.Protobuf;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;
using MLDistributed.Training;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>The encoder of texts: what it computes, and what it starts from.</summary>
[TestClass]
public sealed class TextEncoderTests
{
    private const int Rows = 90;
    private const int Tokens = 24;
    private const int Vocabulary = 40;
    private const int Separator = 3;

    [TestMethod]
    [DataRow(true, TextPooling.Mean, 2), DataRow(true, TextPooling.Mean, 3), DataRow(false, TextPooling.First, 3)]
    public void Train_OnSeveralRanks_MakesTheModelOfOne(bool normFirst, TextPooling pooling, int ranks)
    {
        using var folder = new TempFolder();
        Write(folder["data"]);
        var spec = Spec(s => (s.NormFirst, s.Pooling) = (normFirst, pooling));

        var one = Loop.Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var several = Loop.Cluster.Train(spec, ranks, folder["data"]).ShouldSucceed();

        Assert.IsLessThan(one.Losses[0] * 0.9, one.Losses[^1]);
        foreach (var (name, values) in one.Tensors)
            for (var i = 0; i < values.Length; i++)
                Assert.AreEqual(values[i], several.Tensors[name][i], 1e-4, name);
    }

    [TestMethod]
    public void Train_GatheredAhead_PutsEachBatchInOrderOnce()
    {
        using var folder = new TempFolder();
        Write(folder["data"]);
        var spec = Spec();
        (spec.Epochs, spec.MaxMicroBatchSize) = (2, 5);
        var asked = new System.Collections.Concurrent.ConcurrentQueue<long>();

        var ahead = Loop.Cluster.Train(spec, 1, folder["data"], configure: e => e.Value with { Prefetch = true, RowTaken = (_, row) => asked.Enqueue(row) }).ShouldSucceed();
        var plain = Loop.Cluster.Train(spec, 1, folder["data"], configure: e => e.Value with { Prefetch = false }).ShouldSucceed();

        CollectionAssert.AreEqual(plain.AllWeights(), ahead.AllWeights());
        Assert.HasCount(2 * Rows, asked);
        Assert.IsTrue(asked.GroupBy(row => row).All(g => g.Count() == 2));
    }

    [TestMethod]
    public void Train_BitExactOnTwoRanks_MakesTheBitsOfOne()
    {
        using var folder = new TempFolder();
        Write(folder["data"]);
        var spec = Spec();
        spec.BitExact = new BitExactSpec { MicroBatches = 8 };
        spec.Epochs = 1;

        CollectionAssert.AreEqual(Loop.Cluster.Train(spec, 1, folder["data"]).ShouldSucceed().AllWeights(), Loop.Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().AllWeights());
    }

    [TestMethod]
    [DataRow(true, TextPooling.Mean, Activation.Gelu, MlTask.Multiclass, false)]
    [DataRow(false, TextPooling.First, Activation.Relu, MlTask.Regression, false)]
    [DataRow(false, TextPooling.Mean, Activation.Gelu, MlTask.Multiclass, true)]
    public void WriteOnnx_AnyEncoder_ScoresAsTheModule(bool normFirst, TextPooling pooling, Activation activation, MlTask task, bool adapts)
    {
        var spec = Spec(s =>
        {
            (s.NormFirst, s.Pooling, s.Activation, s.OutputSize) = (normFirst, pooling, activation, task == MlTask.Multiclass ? 3 : 1);
            s.Adapter = adapts ? new AdapterSpec { Rank = 3, Alpha = 5, Targets = { "query", "value", "output", "down" } } : null;
        });
        spec.Task = task;
        var source = new TextSource(spec.Module.Text, spec.Seed, "");
        var random = new Random(5);
        var parameters = Enumerable.Range(0, (int)source.Layout.ParameterLength).Select(_ => (float)(random.NextDouble() - 0.5)).ToArray();
        // Padding, unknown ids and what is no number count as documented; so does a row of nothing.
        float[][] rows = [[.. Row(0)], [.. Row(1)], [.. Row(4)], [1, 500, float.NaN, -7, 3, .. new float[Tokens - 5]], new float[Tokens]];
        using var scope = NewDisposeScope();
        var flat = tensor(parameters);
        using var collective = Loop.Cluster.Alone();
        using var module = source.Create(flat, zeros_like(flat), rows.Length, new StatisticsJoin(collective), null);

        float[] expected;
        using (no_grad())
        {
            // As the batch feed gives them: what is no number is 0.
            var raw = module.Predict(tensor(rows.SelectMany(r => r).Select(v => float.IsNaN(v) ? 0 : v).ToArray(), [rows.Length, Tokens]));
            expected = (task == MlTask.Multiclass ? raw.softmax(1) : raw).contiguous().data<float>().ToArray();
        }

        var onnx = source.WriteOnnx(spec, new ModelWeights(parameters, []).ByName(source.Layout)).ToByteArray();
        using var session = new InferenceSession(onnx);
        using var results = session.Run([NamedOnnxValue.CreateFromTensor(OnnxMlpWriter.Features, new DenseTensor<float>(rows.SelectMany(r => r).ToArray(), [rows.Length, Tokens]))]);
        var actual = results.First(r => r.Name == OnnxMlpWriter.Score).AsEnumerable<float>().ToArray();

        for (var i = 0; i < expected.Length; i++)
            Assert.AreEqual(expected[i], actual[i], 1e-5, $"output {i}");
        Assert.IsEmpty(TextTensors.Of(spec.Module.Text).Select(t => t.Name).Except(OnnxTextReader.Read(onnx, spec).Keys));
    }

    [TestMethod]
    [DataRow(2, 0, false, false), DataRow(3, 5, false, false), DataRow(2, 0, true, false), DataRow(2, 0, false, true)]
    public void Train_TaggedOnSeveralRanks_MakesTheModelOfOne(int ranks, int microBatch, bool bitExact, bool adapts)
    {
        using var folder = new TempFolder();
        WriteTagged(folder["data"]);
        var spec = Spec(s => (s.Tags, s.Adapter) = (new TagsSpec(), adapts ? new AdapterSpec { Rank = 4, Alpha = 8, Targets = { "query", "value", "down" } } : null));
        (spec.Task, spec.MaxMicroBatchSize, spec.Data.ValidationFraction) = (MlTask.Tagging, microBatch, 0.2);
        spec.BitExact = bitExact ? new BitExactSpec { MicroBatches = 8 } : null;

        var one = Loop.Cluster.Train(spec, 1, folder["data"]).ShouldSucceed();
        var several = Loop.Cluster.Train(spec, ranks, folder["data"]).ShouldSucceed();

        Assert.IsLessThan(one.Losses[0], one.Losses[^1]);
        for (var i = 0; i < one.Losses.Length; i++)
            Assert.AreEqual(one.Losses[i], several.Losses[i], 1e-4, $"step {i}");
        foreach (var (name, values) in one.Tensors)
            for (var i = 0; i < values.Length; i++)
                Assert.AreEqual(values[i], several.Tensors[name][i], 1e-4, name);
        Assert.AreEqual(one.Result.History[^1].ValidationMetrics[0], several.Result.History[^1].ValidationMetrics[0], 1e-6);
    }

    [TestMethod]
    public void Train_TaggedInBatchesOfAnySize_CountsEachWordAlike()
    {
        using var folder = new TempFolder();
        WriteTagged(folder["data"]);

        var losses = Array.ConvertAll([7, 16, Rows], batch =>
        {
            var spec = Spec(s => (s.Tags, s.Dropout) = (new TagsSpec(), 0));
            (spec.Task, spec.GlobalBatchSize, spec.Epochs, spec.Optimizer.LearningRate) = (MlTask.Tagging, batch, 1, 1e-12);
            return Loop.Cluster.Train(spec, 2, folder["data"]).ShouldSucceed().Result.TrainingLoss;
        });

        Assert.AreEqual(losses[2], losses[0], 1e-5);
        Assert.AreEqual(losses[2], losses[1], 1e-5);
    }

    [TestMethod]
    public void WriteOnnx_TaggedEncoder_ScoresEachTokenAsTheModule()
    {
        var spec = Spec(s => s.Tags = new TagsSpec());
        spec.Task = MlTask.Tagging;
        var source = new TextSource(spec.Module.Text, spec.Seed, "");
        var parameters = new float[source.Layout.ParameterLength];
        unsafe
        {
            fixed (float* first = parameters)
                source.Initialize(first);
        }

        float[] row = [.. Row(1)];
        using var scope = NewDisposeScope();
        var flat = tensor(parameters);
        using var collective = Loop.Cluster.Alone();
        using var module = source.Create(flat, zeros_like(flat), 1, new StatisticsJoin(collective), null);
        float[] expected;
        using (no_grad())
            expected = module.Predict(tensor((float[])[.. row, .. new float[Tokens]], [1, 2 * Tokens])).softmax(-1).contiguous().data<float>().ToArray();

        var onnx = source.WriteOnnx(spec, new ModelWeights(parameters, []).ByName(source.Layout)).ToByteArray();
        using var session = new InferenceSession(onnx);
        using var results = session.Run([NamedOnnxValue.CreateFromTensor(OnnxMlpWriter.Features, new DenseTensor<float>(row, [1, Tokens]))]);
        var score = results.First(r => r.Name == OnnxMlpWriter.Score).AsTensor<float>();

        CollectionAssert.AreEqual((int[])[1, Tokens, 3], score.Dimensions.ToArray());
        for (var i = 0; i < row.TakeWhile(id => id > 0).Count() * 3; i++)
            Assert.AreEqual(expected[i], score.GetValue(i), 1e-5, $"number {i}");
    }

    [TestMethod]
    public void Train_FromWeights_TakesThemAndKeepsWhatIsFrozen()
    {
        using var folder = new TempFolder();
        Write(folder["data"]);
        var spec = Spec(s => s.FrozenBlocks = 2);
        (spec.Epochs, spec.Optimizer.LearningRate, spec.Optimizer.WeightDecay) = (1, 1e-12, 0);
        var weights = WriteWeights(folder["weights"], spec.Module.Text, without: TextTensors.Classifier);

        var run = Loop.Cluster.Train(spec, 2, folder["data"], weightsPath: folder["weights"]).ShouldSucceed();

        foreach (var (name, values) in run.Tensors)
        {
            Assert.IsFalse(name.StartsWith("embeddings", StringComparison.Ordinal) || name.StartsWith("encoder.layer.0", StringComparison.Ordinal), name);
            if (weights.TryGetValue(name, out var given))
                for (var i = 0; i < values.Length; i++)
                    Assert.AreEqual(given.Values[i], values[i], 1e-6, name);
        }

        var onnx = OnnxTextReader.Read(new TextSource(spec.Module.Text, spec.Seed, folder["weights"]).WriteOnnx(spec, run.Tensors).ToByteArray(), spec);
        CollectionAssert.AreEqual(weights[TextTensors.Words].Values, onnx[TextTensors.Words]);
    }

    [TestMethod]
    public void Train_FromWeightsThatDoNotFit_NamesThemAll()
    {
        using var folder = new TempFolder();
        Write(folder["data"]);
        var spec = Spec();
        WriteWeights(folder["weights"], Spec(s => (s.Width, s.Layers) = (8, 1)).Module.Text, without: "");

        var failure = Assert.IsInstanceOfType<TrainingException>(Loop.Cluster.Train(spec, 1, folder["data"], weightsPath: folder["weights"]).Failures[0]);

        Assert.AreEqual(FailureKind.Invalid, failure.Failure.Kind);
        StringAssert.Contains(failure.Message, "Weights \"embeddings.word_embeddings.weight\" are [40, 8], expected [40, 16].");
        StringAssert.Contains(failure.Message, "Weights \"encoder.layer.1.attention.self.query.weight\" are missing, expected [16, 16].");
    }

    private static Dictionary<string, NamedTensor> WriteWeights(string path, TextSpec text, string without)
    {
        var random = new Random(3);
        var tensors = TextTensors.Of(text).Where(t => without.Length == 0 || !t.Name.StartsWith(without, StringComparison.Ordinal))
            .Select(t => new NamedTensor(t.Name, t.Shape, [.. Enumerable.Range(0, (int)t.Length).Select(_ => (float)random.NextDouble())])).ToList();
        File.WriteAllBytes(path, TensorFile.Write(tensors));
        return tensors.ToDictionary(t => t.Name);
    }

    private static JobSpec Spec(Action<TextSpec>? change = null)
    {
        var text = new TextSpec
        {
            InputSize = Tokens, OutputSize = 3, VocabularySize = Vocabulary, SeparatorId = Separator, Width = 16, Layers = 2, Heads = 2, FeedForwardSize = 24, Positions = 32,
            NormFirst = true, Activation = Activation.Gelu, Pooling = TextPooling.Mean, Dropout = 0.1, NormEpsilon = 1e-5,
        };
        change?.Invoke(text);
        return Loop.Cluster.Spec(s =>
        {
            s.Module = new ModuleSpec { Text = text };
            (s.Epochs, s.GlobalBatchSize) = (4, 16);
            s.Optimizer = new OptimizerSpec { Adam = new AdamSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3 };
        });
    }

    private static void Write(string path) => Datasets.Write(path, Tokens, Rows, i => [.. Row(i)], i => i % 3);

    // The tag of a token is what is left of its id by 3; every fourth has none, and a row weighs as many as it has.
    private static void WriteTagged(string path) => Datasets.Write(path, 2 * Tokens, Rows, i => [.. Row(i), .. Row(i).Select(Tag)], _ => 0, i => Row(i).Count(id => Tag(id) > 0));

    private static float Tag(float id) => id == 0 || id % 4 == 0 ? 0 : 1 + (id % 3);

    // [CLS] a [SEP] b [SEP], of 5 to 23 tokens: a says the class.
    private static IEnumerable<float> Row(int index)
    {
        var random = new Random(index);
        var length = random.Next(1, Tokens - 4);
        var ids = new List<float> { 2, 4 + (index % 3), Separator };
        ids.AddRange(Enumerable.Range(0, length).Select(_ => (float)random.Next(8, Vocabulary)));
        ids.Add(Separator);
        return ids.Concat(new float[Tokens - ids.Count]);
    }
}
