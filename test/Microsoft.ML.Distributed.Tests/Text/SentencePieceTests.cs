using Google.Protobuf;
using Microsoft.ML.Tokenizers;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>SentencePiece models of unigrams. Encodings are worked out by hand: those of the highest sum of scores.</summary>
[TestClass]
public sealed class SentencePieceTests
{
    private const int Unigram = 1;
    private static readonly (string Piece, float Score, int Type)[] s_pieces =
    [
        ("<unk>", 0, 2), ("<s>", 0, 3), ("</s>", 0, 3), ("▁", -3, 1), ("▁low", -1, 1), ("er", -1.5f, 1), ("l", -4, 1), ("o", -4, 1), ("w", -4, 1), ("e", -4, 1), ("r", -4, 1), ("<", -5, 1), ("s", -5, 1), (">", -5, 1),
    ];

    [TestMethod]
    [DataRow("low lower", "1,5,5,6,2")]
    [DataRow("  low   lower ", "1,5,5,6,2")]
    [DataRow("wole", "1,4,9,8,7,10,2")]
    [DataRow("r", "1,4,11,2")]
    [DataRow("LOW", "1,4,3,2")] // unknown ones side by side are one
    [DataRow("low 中中", "1,5,4,3,2")]
    [DataRow("<s>", "1,4,12,13,14,2")] // a text makes no marks
    [DataRow("", "1,2")]
    [DataRow(null, "1,2")]
    public void Encode_Text_IsItsLikeliestPieces(string? text, string expected) =>
        Assert.AreEqual(expected, string.Join(',', new TextTokenizer(Vocabulary(Model())).Encode(text.AsMemory(), null, 64)));

    [TestMethod]
    public void Encode_Text_IsWhatTheLibrarySays()
    {
        var model = Model();
        var library = SentencePieceTokenizer.Create(new MemoryStream(model), addBeginningOfSentence: false, addEndOfSentence: false);
        var vocabulary = Vocabulary(model);
        foreach (var text in (string[])["low lower slower", "lowlow rower", "e r e", "swore <lower>"])
            CollectionAssert.AreEqual(
                library.EncodeToTokens(text, out _, addBeginningOfSentence: false, addEndOfSentence: false).Select(t => t.Value).ToArray(),
                new TextTokenizer(vocabulary).Encode(text.AsMemory(), null, 64)[1..^1].Select(id => vocabulary.Tokens[id]).ToArray());
    }

    [TestMethod]
    public void Encode_Pair_HasTwoSeparatorsBetween() =>
        Assert.AreEqual("1,5,2,2,4,6,2", string.Join(',', new TextTokenizer(Vocabulary(Model())).Encode("low".AsMemory(), "er".AsMemory(), 64)));

    [TestMethod]
    public void Windows_Words_BeginAtTheirFirstPieces()
    {
        var window = new WordTokenizer(new TextTokenizer(Vocabulary(Model())), 16).Windows("low lower\tr".AsMemory()).Single();

        Assert.AreEqual("1,5,5,6,4,11,2 1,2,4", $"{string.Join(',', window.Ids)} {string.Join(',', window.Places)}");
    }

    [TestMethod]
    public void Load_OfWhatWasSaved_EncodesTheSame()
    {
        using var file = new MemoryStream();
        using (var writer = new BinaryWriter(file, System.Text.Encoding.UTF8, leaveOpen: true))
            Vocabulary(Model()).Save(writer);
        file.Position = 0;

        var loaded = TextVocabulary.Load(new BinaryReader(file));

        Assert.AreEqual("1,5,5,6,2", string.Join(',', new TextTokenizer(loaded).Encode("low lower".AsMemory(), null, 64)));
        Assert.ThrowsExactly<FormatException>(() => TextVocabulary.Load(new BinaryReader(new MemoryStream([3, 255, 255, 255, 127]))));
    }

    [TestMethod]
    public void File_ThatIsNoModelOfUnigrams_IsRefusedInWords()
    {
        Refuses(Model(kind: 2), "is a SentencePiece model of kind Bpe, expected Unigram");
        Refuses(Model(hasByteFallback: true), "falls back to bytes, expected a model without them");
        Refuses(Model(pieces: s_pieces[1..]), "has 13 pieces, 0 of them for what is unknown");
        Refuses(Model(pieces: [.. s_pieces, s_pieces[^1]]), "has 15 pieces");
        Refuses([], "has no pieces");
        Refuses("{ \"model\": 1 }"u8.ToArray(), "is no SentencePiece model, or cut off");
        Refuses(Model()[..50], "is no SentencePiece model, or cut off");

        static void Refuses(byte[] file, string expected) => StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => Vocabulary(file)).Message, expected);
    }

    private static TextVocabulary Vocabulary(byte[] model)
    {
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllBytes(path, model);
            return TextVocabulary.FromSentencePiece(path);
        }
        finally
        {
            File.Delete(path);
        }
    }

    // sentencepiece_model.proto: pieces, trainer_spec, normalizer_spec with its defaults.
    private static byte[] Model(int kind = Unigram, bool hasByteFallback = false, IEnumerable<(string Piece, float Score, int Type)>? pieces = null) => Message(model =>
    {
        foreach (var (piece, score, type) in pieces ?? s_pieces)
        {
            Part(model, 1, Message(part =>
            {
                part.WriteTag(1, WireFormat.WireType.LengthDelimited);
                part.WriteString(piece);
                part.WriteTag(2, WireFormat.WireType.Fixed32);
                part.WriteFloat(score);
                part.WriteTag(3, WireFormat.WireType.Varint);
                part.WriteInt32(type);
            }));
        }

        Part(model, 2, Message(part =>
        {
            part.WriteTag(3, WireFormat.WireType.Varint);
            part.WriteInt32(kind);
            part.WriteTag(35, WireFormat.WireType.Varint);
            part.WriteBool(hasByteFallback);
        }));
        Part(model, 3, []);
    });

    private static void Part(CodedOutputStream output, int field, byte[] message)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        output.WriteBytes(ByteString.CopyFrom(message));
    }

    private static byte[] Message(Action<CodedOutputStream> write)
    {
        using var stream = new MemoryStream();
        using (var output = new CodedOutputStream(stream, leaveOpen: true))
            write(output);
        return stream.ToArray();
    }
}
