using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Byte-level BPE, and encoders of RoBERTa's kind. Encodings are worked out by hand.</summary>
[TestClass]
public sealed class BytePairTests
{
    private const string Tokens = """{ "<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "l": 4, "o": 5, "w": 6, "e": 7, "r": 8, "Ġ": 9, "lo": 10, "low": 11, "Ġlow": 12, "er": 13, "Ã": 14, "©": 15, "Ã©": 16, "<": 17, "s": 18, ">": 19 }""";
    private const string Merges = "#version: 0.2\nl o\nlo w\nĠ low\ne r\nÃ ©\n";
    private const string Config = """{ "model_type": "roberta", "pad_token_id": 1, "num_attention_heads": 2, "intermediate_size": 6, "num_hidden_layers": 1, "layer_norm_eps": 1e-5 }""";

    [TestMethod]
    [DataRow("low lower", "1,11,12,13,2")] // a space is part of the word behind it
    [DataRow("wole", "1,6,5,4,7,2")]
    [DataRow("LOW", "1,3,3,3,2")] // no lower-casing; these bytes the vocabulary does not have
    [DataRow("é", "1,16,2")] // two bytes
    [DataRow("<s>", "1,17,18,19,2")] // a text makes no marks
    [DataRow("", "1,2")]
    [DataRow(null, "1,2")]
    public void Encode_Text_IsItsJoinedBytes(string? text, string expected)
    {
        using var folder = new Folder(Tokens, Merges);

        Assert.AreEqual(expected, string.Join(',', new TextTokenizer(folder.Vocabulary).Encode(text.AsMemory(), null, 64)));
    }

    [TestMethod]
    public void Encode_Pair_HasTwoSeparatorsBetween()
    {
        using var folder = new Folder(Tokens, Merges);
        var tokenizer = new TextTokenizer(folder.Vocabulary);

        Assert.AreEqual("1,11,2,2,13,2", string.Join(',', tokenizer.Encode("low".AsMemory(), "er".AsMemory(), 64)));
        Assert.AreEqual("1,11,2,2,13,2", string.Join(',', tokenizer.Encode("low low low".AsMemory(), "er".AsMemory(), 6)));
        Assert.HasCount(3, tokenizer.Encode("low".AsMemory(), "er".AsMemory(), 3));
    }

    [TestMethod]
    public void Windows_Words_HaveTheirSpaces()
    {
        using var folder = new Folder(Tokens, Merges);

        var window = new WordTokenizer(new TextTokenizer(folder.Vocabulary), 16).Windows("low lower".AsMemory()).Single();

        Assert.AreEqual("1,11,12,13,2 1,2", $"{string.Join(',', window.Ids)} {string.Join(',', window.Places)}");
    }

    [TestMethod]
    public void Load_OfWhatWasSaved_EncodesTheSame()
    {
        using var folder = new Folder(Tokens, Merges);
        using var file = new MemoryStream();
        using (var writer = new BinaryWriter(file, System.Text.Encoding.UTF8, leaveOpen: true))
            folder.Vocabulary.Save(writer);
        file.Position = 0;

        var loaded = TextVocabulary.Load(new BinaryReader(file));

        CollectionAssert.AreEqual(folder.Vocabulary.Tokens.ToArray(), loaded.Tokens.ToArray());
        Assert.AreEqual("1,11,12,13,2", string.Join(',', new TextTokenizer(loaded).Encode("low lower".AsMemory(), null, 64)));
        Assert.ThrowsExactly<FormatException>(() => TextVocabulary.Load(new BinaryReader(new MemoryStream([2, 255, 255, 255, 127]))));
    }

    [TestMethod]
    [DataRow("[1]", Merges, "no object of JSON")]
    [DataRow("{", Merges, "is no JSON")]
    [DataRow("""{ "<s>": 0, "<pad>": 0 }""", Merges, "expected each id from 0 to 1 once")]
    [DataRow("""{ "<s>": 0, "<pad>": "1" }""", Merges, "expected each id")]
    [DataRow("""{ "<s>": 0, "<pad>": 1 }""", Merges, "has no </s>, <unk>")]
    [DataRow("{ }", Merges, "has no <s>, <pad>, </s>, <unk>")]
    [DataRow(Tokens, "l o\nl l\n", "no tokens for the pair \"l l\"")]
    [DataRow(Tokens, "lo\n", "no tokens for the pair \"lo\"")]
    public void Vocabulary_FilesThatAreNone_AreRefusedInWords(string tokens, string merges, string expected)
    {
        using var folder = new Folder(tokens, merges);

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => folder.Vocabulary).Message, expected);
    }

    [TestMethod]
    public void FromHuggingFace_Roberta_HasItsEmbeddingsWhereBertsAre()
    {
        using var folder = new Folder(Tokens, Merges);
        var given = folder.AddWeights(Config);

        var weights = TextWeights.FromHuggingFace(folder.Path);

        Assert.AreEqual((4, 1, 2, 6, 8, 20), (weights.Width, weights.Layers, weights.Heads, weights.FeedForwardSize, weights.Positions, weights.VocabularySize));
        var tensors = weights.Tensors.ToDictionary(t => t.Name, t => t.Values);
        CollectionAssert.AreEqual(given[TextTensors.Words][4..8].Concat(given[TextTensors.Words][..4]).Concat(given[TextTensors.Words][8..]).ToArray(), tensors[TextTensors.Words]);
        // Position 0 is behind the padding's, which is 1.
        CollectionAssert.AreEqual(given[TextTensors.Positions][8..], tensors[TextTensors.Positions]);
        CollectionAssert.AreEqual(given[TextTensors.Segments].Concat(given[TextTensors.Segments]).ToArray(), tensors[TextTensors.Segments]);
        CollectionAssert.AreEqual(given["encoder.layer.0.output.dense.weight"], tensors["encoder.layer.0.output.dense.weight"]);
    }

    [TestMethod]
    public void FromHuggingFace_RobertaWithAnotherPadding_IsRefused()
    {
        using var folder = new Folder(Tokens, Merges);
        folder.AddWeights(Config.Replace("\"pad_token_id\": 1", "\"pad_token_id\": 5", StringComparison.Ordinal));

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => TextWeights.FromHuggingFace(folder.Path)).Message, "pad_token_id is 5, expected 1");
    }

    private sealed class Folder : IDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("mltest-");

        public Folder(string tokens, string merges)
        {
            File.WriteAllText(At("vocab.json"), tokens);
            File.WriteAllText(At("merges.txt"), merges);
        }

        public string Path => _folder.FullName;

        public TextVocabulary Vocabulary => TextVocabulary.FromBytePairFiles(At("vocab.json"), At("merges.txt"));

        // As RobertaModel's: two positions more, and one segment.
        public Dictionary<string, float[]> AddWeights(string config)
        {
            var text = new TextSpec { VocabularySize = 20, Width = 4, Layers = 1, Heads = 2, FeedForwardSize = 6, Positions = 10, OutputSize = 2, Pooling = MLDistributed.Protocol.TextPooling.Mean };
            var random = new Random(1);
            var tensors = TextTensors.Of(text).Select(t => t.Name == TextTensors.Segments ? (t.Name, Shape: (long[])[1, 4]) : (t.Name, t.Shape))
                .Select(t => new NamedTensor("roberta." + t.Name, t.Shape, [.. Enumerable.Range(0, (int)t.Shape.Aggregate((a, b) => a * b)).Select(_ => (float)random.NextDouble())])).ToList();
            File.WriteAllBytes(At("model.safetensors"), TensorFile.Write(tensors));
            File.WriteAllText(At("config.json"), config);
            return tensors.ToDictionary(t => t.Name["roberta.".Length..], t => t.Values);
        }

        public void Dispose() => _folder.Delete(recursive: true);

        private string At(string name) => System.IO.Path.Combine(Path, name);
    }
}
