using Google.Protobuf;
using Microsoft.ML.Tokenizers;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// A SentencePiece model of unigrams (Kudo, arXiv:1804.10959), as XLM-RoBERTa's: of all ways to cut a text into pieces the likeliest one.
/// "&lt;s&gt; a &lt;/s&gt;" is a text, "&lt;s&gt; a &lt;/s&gt;&lt;/s&gt; b &lt;/s&gt;" a pair. Ids are 0 for padding, then "&lt;s&gt;", "&lt;/s&gt;" and
/// "&lt;unk&gt;", and the file's other pieces in its order: XLM-RoBERTa's, but that padding has changed places with "&lt;s&gt;".
/// </summary>
internal sealed class SentencePieces
{
    private const int UnknownId = 3;
    private const string Remedy = "Take the sentencepiece.bpe.model of a model of XLM-RoBERTa's kind, or train one with spm_train --model_type=unigram.";
    private static readonly string[] s_special = [BytePairs.Padding, BytePairs.First, BytePairs.Separator, BytePairs.Unknown];

    // By the file's ids.
    private readonly int[] _ids;

    private SentencePieces(byte[] file, List<string> tokens, int[] ids) => (File, Tokens, _ids) = (file, tokens, ids);

    /// <summary>The model, as it was read.</summary>
    public byte[] File { get; }

    /// <summary>The tokens by our ids.</summary>
    public IReadOnlyList<string> Tokens { get; }

    /// <summary>Reads a model.</summary>
    /// <param name="file">Its bytes.</param>
    /// <param name="name">What it is called in errors.</param>
    /// <exception cref="FormatException">It is none of unigrams; says what is wrong.</exception>
    public static SentencePieces Of(byte[] file, string name)
    {
        var model = Read(file, name);
        if (model.Kind != SentencePieceKind.Unigram)
            throw new FormatException($"{name} is a SentencePiece model of kind {model.Kind}, expected Unigram: of a BPE, Microsoft.ML.Tokenizers does not normalise texts and has no tokens for those of one letter. {Remedy}");
        if (model.HasByteFallback)
            throw new FormatException($"{name} falls back to bytes, expected a model without them: Microsoft.ML.Tokenizers has other ids for these than the file. {Remedy}");
        List<string> tokens = [.. s_special];
        var ids = new int[model.Pieces.Count];
        foreach (var (i, (piece, isUnknown)) in model.Pieces.Index())
        {
            ids[i] = isUnknown ? UnknownId : Array.IndexOf(s_special, piece) is var special and >= 0 ? special : tokens.Count;
            if (ids[i] == tokens.Count)
                tokens.Add(piece);
        }

        if (model.Pieces.Count(p => p.IsUnknown) != 1 || tokens.Count == s_special.Length || tokens.Count > TextVocabulary.MaxTokens || tokens.Distinct(StringComparer.Ordinal).Count() < tokens.Count)
            throw new FormatException($"{name} has {model.Pieces.Count:N0} pieces, {model.Pieces.Count(p => p.IsUnknown)} of them for what is unknown, expected 1 of that, some others, each once, and at most {TextVocabulary.MaxTokens:N0}. {Remedy}");
        var pieces = new SentencePieces(file, tokens, ids);
        pieces.Create(name);
        return pieces;
    }

    /// <summary>Makes the library's ids of texts.</summary>
    public SentencePieceTokenizer Create(string name = "The vocabulary")
    {
        try
        {
            return SentencePieceTokenizer.Create(new MemoryStream(File), addBeginningOfSentence: false, addEndOfSentence: false);
        }
        catch (Exception e) when (e is ArgumentException or IOException or InvalidOperationException or NullReferenceException or KeyNotFoundException or IndexOutOfRangeException)
        {
            throw new FormatException($"{name} cannot be read by Microsoft.ML.Tokenizers ({e.Message.TrimEnd('.')}), expected a SentencePiece model. {Remedy}", e);
        }
    }

    /// <summary>Our ids of the library's. Of unknown ones side by side there is one, as SentencePiece itself has it.</summary>
    public IEnumerable<int> ToIds(IEnumerable<int> pieces)
    {
        var last = -1;
        foreach (var piece in pieces)
        {
            var id = _ids[piece];
            if (id != UnknownId || last != UnknownId)
                yield return id;
            last = id;
        }
    }

    // ModelProto: 1 pieces (1 text, 3 type), 2 trainer_spec (3 model_type, 35 byte_fallback); what is between is the library's.
    private static SentencePieceModel Read(byte[] file, string name)
    {
        try
        {
            var model = new SentencePieceModel();
            Fields(file, (field, value, number) =>
            {
                if (field == 1)
                {
                    var (text, type) = ("", 1UL);
                    Fields(value, (f, v, n) => (text, type) = f switch { 1 => (v.ToStringUtf8(), type), 3 => (text, n), _ => (text, type) });
                    model.Pieces.Add((text, type == 2));
                }
                else if (field == 2)
                    Fields(value, (f, _, n) => (model.Kind, model.HasByteFallback) = f switch { 3 => ((SentencePieceKind)n, model.HasByteFallback), 35 => (model.Kind, n != 0), _ => (model.Kind, model.HasByteFallback) });
            });
            return model.Pieces.Count > 0 ? model : throw new FormatException($"{name} has no pieces, expected a SentencePiece model. {Remedy}");
        }
        catch (IOException e)
        {
            throw new FormatException($"{name} is no SentencePiece model, or cut off ({e.Message.TrimEnd('.')}). {Remedy}", e);
        }
    }

    private static void Fields(ByteString message, Action<int, ByteString, ulong> tell) => Fields(message.ToByteArray(), tell);

    private static void Fields(byte[] message, Action<int, ByteString, ulong> tell)
    {
        var input = new CodedInputStream(message);
        while (input.ReadTag() is var tag and not 0)
        {
            var field = WireFormat.GetTagFieldNumber(tag);
            switch (WireFormat.GetTagWireType(tag))
            {
                case WireFormat.WireType.LengthDelimited:
                    tell(field, input.ReadBytes(), 0);
                    break;
                case WireFormat.WireType.Varint:
                    tell(field, ByteString.Empty, input.ReadUInt64());
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }
    }

    private enum SentencePieceKind
    {
        Unigram = 1,
        Bpe = 2,
        Word = 3,
        Char = 4,
    }

    private sealed class SentencePieceModel
    {
        public List<(string Text, bool IsUnknown)> Pieces { get; } = [];

        public SentencePieceKind Kind { get; set; } = SentencePieceKind.Unigram;

        public bool HasByteFallback { get; set; }
    }
}
