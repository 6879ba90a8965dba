using System.Text;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Texts as token ids.</summary>
[TestClass]
public sealed class TextTokensTests
{
    private static readonly TextVocabulary s_vocabulary = TextVocabulary.FromTokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "##s", "un", "##know", "##n", "!", "cafe", "sep", "[", "]", "中"]);

    [TestMethod]
    [DataRow("The cats sat!", "2,4,5,7,6,11,3")]
    [DataRow("unknown  unknowing", "2,8,9,10,1,3")] // what is not known whole is one unknown token
    [DataRow("", "2,3")]
    [DataRow(null, "2,3")]
    [DataRow(" \t\n", "2,3")]
    [DataRow("[SEP]", "2,14,13,15,3")] // a text makes no separators
    [DataRow("CAFÉ cafe\u0301", "2,12,12,3")] // lower-cased, without accents, whatever the process knows of cultures
    [DataRow("中中", "2,16,16,3")]
    [DataRow("\ud800 cat", "2,5,3")]
    public void Encode_Text_IsItsPieces(string? text, string expected) =>
        Assert.AreEqual(expected, string.Join(',', new TextTokenizer(s_vocabulary).Encode(text.AsMemory(), null, 64)));

    [TestMethod]
    public void Encode_PairThatIsTooLong_LosesTheEndOfTheLongerFirst()
    {
        var tokenizer = new TextTokenizer(s_vocabulary);

        Assert.AreEqual("2,4,4,4,3,5,3", string.Join(',', tokenizer.Encode("the the the the the the".AsMemory(), "cat".AsMemory(), 7)));
        Assert.AreEqual("2,3,3", string.Join(',', tokenizer.Encode("the".AsMemory(), "cat".AsMemory(), 3)));
        Assert.HasCount(256, tokenizer.Encode(new string('a', 50_000_000).AsMemory(), string.Concat(Enumerable.Repeat("the ", 100_000)).AsMemory(), 256));
    }

    [TestMethod]
    [DataRow("a\nb", "has no [PAD], [UNK], [CLS], [SEP]")]
    [DataRow("[UNK]\n[PAD]\n[CLS]\n[SEP]", "begins with \"[UNK]\"")]
    [DataRow("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na", "has the token \"a\" 2 times")]
    [DataRow("", "has no [PAD]")]
    public void Vocabulary_FileThatIsNone_IsRefusedInWords(string text, string expected)
    {
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(text));

        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => TextVocabulary.FromStream(stream)).Message, expected);
    }

    [TestMethod]
    public void Learn_Texts_JoinsWhatIsFrequentAndKnowsEveryLetter()
    {
        var learning = new VocabularyLearning(60);
        for (var i = 0; i < 50; i++)
            learning.Add(["training", "trained", "trainer", i % 2 == 0 ? "lower" : "lowest", "x"]);

        var vocabulary = learning.Complete();

        Assert.IsLessThanOrEqualTo(60, vocabulary.Tokens.Count);
        Assert.Contains("train", vocabulary.Tokens);
        Assert.IsLessThanOrEqualTo(2, new TextTokenizer(vocabulary).Encode("trained".AsMemory(), null, 64).Count - 2);
        Assert.DoesNotContain(1, new TextTokenizer(vocabulary).Encode("wet train".AsMemory(), null, 64));
    }

    [TestMethod]
    public void TensorFile_BytesThatAreDamaged_AreRefusedWithoutMemory()
    {
        var whole = TensorFile.Write([new NamedTensor("a", [2, 3], [1, 2, 3, 4, 5, 6]), new NamedTensor("b", [], [7])]);
        Assert.AreEqual(7, TensorFile.Read(new MemoryStream(whole))["b"].Values[0]);
        CollectionAssert.AreEqual(new float[] { 1, 2, 3, 4, 5, 6 }, TensorFile.Read(new MemoryStream(whole))["a"].Values);
        var random = new Random(1);
        var before = GC.GetTotalAllocatedBytes(precise: true);
        for (var i = 0; i < 3000; i++)
        {
            var damaged = (byte[])whole.Clone();
            for (var j = 0; j <= i % 3; j++)
                damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
            try
            {
                TensorFile.Read(new MemoryStream(damaged[..(i % 5 == 0 ? random.Next(damaged.Length) : damaged.Length)]));
            }
            catch (FormatException)
            {
                // In words.
            }
        }

        Assert.IsLessThan(200L << 20, GC.GetTotalAllocatedBytes(precise: true) - before);
    }
}
