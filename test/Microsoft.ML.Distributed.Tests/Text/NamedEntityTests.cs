using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Words, their pieces and their labels.</summary>
[TestClass]
public sealed class NamedEntityTests
{
    private static readonly TextVocabulary s_vocabulary = TextVocabulary.FromTokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "##s", "new", "york"]);
    private readonly MLContext _ml = new(1);

    [TestMethod]
    [DataRow("the cats", 8, "2,4,5,6,3 1,2")]
    [DataRow("  cats\tcats\u00a0the\n", 8, "2,5,6,5,6,4,3 1,3,5")]
    [DataRow("the cats the cats the", 6, "2,4,5,6,4,3 1,2,4|2,5,6,4,3 1,3")] // whole words
    [DataRow("cats the", 3, "2,5,3 1|2,4,3 1")] // and of a word that is longer than all, its beginning
    [DataRow("the \u0007 xyz", 8, "2,4,1,1,3 1,2,3")] // each word has a token
    [DataRow(" \n", 8, "")]
    [DataRow(null, 8, "")]
    public void Windows_Text_HaveWholeWordsAndWhereEachBegins(string? text, int most, string expected)
    {
        var windows = new WordTokenizer(new TextTokenizer(s_vocabulary), most).Windows(text.AsMemory());

        Assert.AreEqual(expected, string.Join('|', windows.Select(w => $"{string.Join(',', w.Ids)} {string.Join(',', w.Places)}")));
    }

    [TestMethod]
    [DataRow("O,B-PER,I-PER,B-LOC", 0, "0,1,1,2", "0100")]
    [DataRow("O,B-PER,I-PER,B-LOC", 1, "0,0,1,1,2", "00101")] // a missing key before them
    [DataRow("I-PER,B-LOC", 1, "0,1,2", "001")]
    [DataRow("O,PER", 0, "", "")]
    [DataRow("O,B-", 0, "", "")]
    [DataRow("O,0", 0, "", "")]
    public void Tags_Labels_AreThoseOfEntitiesWhereAllSaySo(string names, int missing, string entities, string begins)
    {
        var labels = names.Split(',');
        var column = Labels([.. labels.Select(l => new[] { l })]);

        var tags = WordTags.Of(column, [missing, .. labels.Select(_ => 5L)]);
        var spec = tags.ToSpec();

        Assert.AreEqual(entities, string.Join(',', spec.Entity));
        if (entities.Length > 0)
            Assert.AreEqual(string.Concat(labels.Select(l => l[0] == 'B' ? '1' : '0').Prepend('0').Skip(missing == 0 ? 1 : 0)), string.Concat(spec.Begins.Select(b => b ? '1' : '0')));
        Assert.AreEqual(labels.Length + missing, tags.ClassCount);
        Assert.AreEqual(missing == 0 ? 0u : 1u, tags.ToTag(0));
        Assert.AreEqual((uint)labels.Length, tags.ToKey(tags.ClassCount - 1));
        Assert.HasCount(tags.ClassCount, tags.OutputBias);
        Assert.AreEqual(entities.Length == 0, begins.Length == 0);
    }

    [TestMethod]
    public void ConvertToOnnx_NamedEntities_IsRefusedInWords()
    {
        var (spec, onnx) = TextScorerTests.Encoder(normFirst: true, MLDistributed.Protocol.TextPooling.Mean, Activation.Gelu, MlTask.Tagging);
        var keys = LabelKeys.Of(Labels([["O", "PER", "LOC"]]));
        var entities = new NamedEntityTransformer(_ml, new TrainedNetwork(onnx, spec, new JobResult(), "job"), new EntityFrame(_ml, new EntityColumns("Text", "Found", "Certainty"), s_vocabulary, keys));
        var data = _ml.Data.LoadFromEnumerable(new[] { new Row { Text = "the cat" } });
        Assert.AreEqual(2, entities.Transform(data).GetColumn<float[]>("Certainty").Single().Length);
        using var file = new MemoryStream();

        StringAssert.Contains(Assert.ThrowsExactly<NotSupportedException>(() => _ml.Model.ConvertToOnnx(entities, data, file)).Message, "NamedEntityTransformer.SaveOnnx");
    }

    private DataViewSchema.Column Labels(string[][] rows)
    {
        var data = _ml.Data.LoadFromEnumerable(rows.Select(r => new Row { Label = r }));
        return _ml.Transforms.Conversion.MapValueToKey("Label").Fit(data).Transform(data).Schema["Label"];
    }

    private sealed class Row
    {
        public string Text { get; set; } = "";

        public string[] Label { get; set; } = [];
    }
}
