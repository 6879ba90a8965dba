using Microsoft.ML.Distributed;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;
using MLDistributed.Tests.Shared;
using MLDistributed.Training.Models;
using static TorchSharp.torch;

namespace Training.Tests.Models;

/// <summary>Real weights of others.</summary>
[TestClass]
public sealed class PretrainedTextTests
{
    private static readonly string[] s_texts = ["The quick brown fox jumps over the lazy dog.", "Zürich, 42 °C", "a", "", "How do I train a neural network in C# on several machines, and what does it cost?"];

    [TestMethod]
    public unsafe void Predict_WithMiniLmsWeights_IsWhatItsOwnFileMakes()
    {
        if (MiniLm.Missing is { } reason)
            Assert.Inconclusive(reason);
        using var folder = new TempFolder();
        var weights = MiniLm.Weights;
        var spec = new TextSpec
        {
            InputSize = 32, OutputSize = weights.Width, VocabularySize = weights.VocabularySize, SeparatorId = weights.Vocabulary.SeparatorId, Width = weights.Width, Layers = weights.Layers, Heads = weights.Heads,
            FeedForwardSize = weights.FeedForwardSize, Positions = weights.Positions, NormEpsilon = weights.NormEpsilon, Activation = weights.Activation, Pooling = MLDistributed.Protocol.TextPooling.Mean,
            FrozenBlocks = weights.Layers + 1, // so that all of it comes from the file
        };
        File.WriteAllBytes(folder["weights"], TensorFile.Write(weights.Tensors));
        var source = new TextSource(spec, 1, folder["weights"]);
        // The outputs are the pooled text itself.
        var parameters = new float[source.Layout.ParameterLength];
        for (var i = 0; i < spec.Width; i++)
            parameters[(i * spec.Width) + i] = 1;
        var tokenizer = new TextTokenizer(weights.Vocabulary);
        var rows = s_texts.Select(t => tokenizer.Encode(t.AsMemory(), null, spec.InputSize)).ToArray();
        var features = rows.SelectMany(r => r.Select(id => (float)id).Concat(new float[spec.InputSize - r.Count])).ToArray();

        using var scope = NewDisposeScope();
        var flat = tensor(parameters);
        using var collective = Loop.Cluster.Alone();
        using var module = source.Create(flat, zeros_like(flat), rows.Length, new StatisticsJoin(collective), null);
        float[] pooled;
        using (no_grad())
            pooled = module.Predict(tensor(features, [rows.Length, spec.InputSize])).contiguous().data<float>().ToArray();

        using var session = new InferenceSession(MiniLm.Onnx);
        for (var row = 0; row < rows.Length; row++)
        {
            var length = rows[row].Count;
            var ids = rows[row].Select(id => (long)id).ToArray();
            var inputs = session.InputMetadata.Keys.Select(name => NamedOnnxValue.CreateFromTensor(name, new DenseTensor<long>(
                name == "input_ids" ? ids : Enumerable.Repeat(name == "attention_mask" ? 1L : 0L, length).ToArray(), [1, length]))).ToList();
            using var results = session.Run(inputs);
            var hidden = results.First(r => r.AsTensor<float>().Dimensions.Length == 3).AsTensor<float>().ToArray();
            for (var i = 0; i < spec.Width; i++)
            {
                var mean = Enumerable.Range(0, length).Average(t => hidden[(t * spec.Width) + i]);
                Assert.AreEqual(mean, pooled[(row * spec.Width) + i], 1e-4, $"\"{s_texts[row]}\", number {i}");
            }
        }
    }
}
