using Microsoft.ML.Data;
using Google.Protobuf;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Weights that others made.</summary>
[TestClass]
public sealed class TextWeightsTests
{
    private const string Config = """{ "model_type": "bert", "num_attention_heads": 2, "intermediate_size": 6, "num_hidden_layers": 1, "hidden_act": "gelu", "layer_norm_eps": 1e-12 }""";

    [TestMethod]
    public void FromHuggingFace_FolderOfAWholeModel_TakesItsEncoderAndNotItsHead()
    {
        using var folder = new Folder(Config);

        var weights = TextWeights.FromHuggingFace(folder.Path);

        Assert.AreEqual((4, 1, 2, 6, 8, TextPooling.First), (weights.Width, weights.Layers, weights.Heads, weights.FeedForwardSize, weights.Positions, weights.Pooling));
        CollectionAssert.AreEqual(new long[] { 5, 4 }, weights.ShapeOf(TextTensors.Words)!.ToArray());
        Assert.IsNotNull(weights.ShapeOf("embeddings.LayerNorm.weight"), "The name of old, LayerNorm.gamma, is not known.");
        Assert.IsNull(weights.ShapeOf("classifier.weight"));
    }

    [TestMethod]
    [DataRow("""{ "model_type": "deberta-v2", "num_attention_heads": 2 }""", "model_type is \"deberta-v2\", expected \"bert\", \"roberta\" or \"xlm-roberta\"")]
    [DataRow("""{ "hidden_act": "silu" }""", "hidden_act is \"silu\"")]
    [DataRow("{ }", "num_attention_heads is missing")]
    [DataRow("[1]", "is no object of JSON")]
    [DataRow("", "is no JSON")]
    public void FromHuggingFace_ConfigurationOfAnotherKind_IsRefusedInWords(string config, string expected)
    {
        using var folder = new Folder(config);

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => TextWeights.FromHuggingFace(folder.Path)).Message, expected);
    }

    [TestMethod]
    public void Fit_FromWeightsThatContradictTheirConfiguration_NamesEachBeforeDataIsRead()
    {
        using var folder = new Folder(Config.Replace("\"intermediate_size\": 6", "\"intermediate_size\": 7", StringComparison.Ordinal));
        var ml = new MLContext();
        var trainer = ml.MulticlassClassification.Trainers.DistributedTextClassification(new DistributedTextClassificationTrainer.Options { Weights = TextWeights.FromHuggingFace(folder.Path) });

        var message = Assert.ThrowsExactly<ArgumentException>(() => trainer.Fit(ml.Data.LoadFromEnumerable([new Row()]))).Message;

        StringAssert.Contains(message, "Weights \"encoder.layer.0.intermediate.dense.weight\" are [6, 4], expected [7, 4].");
        StringAssert.Contains(message, "Weights \"encoder.layer.0.output.dense.weight\" are [4, 6], expected [4, 7].");
    }

    [TestMethod]
    public void FromOnnx_BytesOfAnything_AreRefusedInWords()
    {
        var vocabulary = () => new MemoryStream("[PAD]\n[UNK]\n[CLS]\n[SEP]"u8.ToArray());
        var graph = new GraphProto { Initializer = { new TensorProto { Name = TextTensors.Words, DataType = 1, Dims = { 5, 4 }, RawData = ByteString.CopyFrom(new byte[16]) } } };

        foreach (var bytes in new[] { [], [1, 2, 3], new ModelProto().ToByteArray(), new ModelProto { Graph = new GraphProto() }.ToByteArray(), new ModelProto { Graph = graph }.ToByteArray() })
            Assert.ThrowsExactly<FormatException>(() => TextWeights.FromOnnx(new MemoryStream(bytes), vocabulary()));
    }

    private sealed class Row
    {
        public string Sentence1 { get; set; } = "";

        [KeyType(3)]
        public uint Label { get; set; } = 1;
    }

    /// <summary>A tiny model as Hugging Face has them, with a head of its own and names of old.</summary>
    private sealed class Folder : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("mltest-");

        public Folder(string config)
        {
            var text = new TextSpec { VocabularySize = 5, Width = 4, Layers = 1, Heads = 2, FeedForwardSize = 6, Positions = 8, OutputSize = 2, Pooling = MLDistributed.Protocol.TextPooling.First };
            var tensors = TextTensors.Of(text).Select(t => new NamedTensor("bert." + t.Name.Replace("embeddings.LayerNorm.weight", "embeddings.LayerNorm.gamma", StringComparison.Ordinal), t.Shape, new float[t.Length])).ToList();
            File.WriteAllBytes(System.IO.Path.Combine(Path, "model.safetensors"), TensorFile.Write(tensors));
            File.WriteAllText(System.IO.Path.Combine(Path, "vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\nword\n");
            File.WriteAllText(System.IO.Path.Combine(Path, "config.json"), config);
        }

        public string Path => _folder.FullName;

        public void Dispose() => _folder.Delete(recursive: true);
    }
}
