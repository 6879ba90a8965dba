using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The weights of a pretrained encoder of BERT's or RoBERTa's kind, with its sizes and its vocabulary.</summary>
public sealed class TextWeights
{
    private readonly Dictionary<string, NamedTensor> _tensors;

    internal TextWeights(TextVocabulary vocabulary, IEnumerable<NamedTensor> tensors)
    {
        Vocabulary = vocabulary;
        _tensors = tensors.ToDictionary(t => t.Name, StringComparer.Ordinal);
    }

    /// <summary>The tokens that the encoder knows.</summary>
    public TextVocabulary Vocabulary { get; }

    /// <summary>Numbers of a token.</summary>
    public int Width { get; internal init; }

    /// <summary>Layers of attention and feed-forward.</summary>
    public int Layers { get; internal init; }

    /// <summary>Attention heads of each layer.</summary>
    public int Heads { get; internal init; }

    /// <summary>The width within each layer's feed-forward.</summary>
    public int FeedForwardSize { get; internal init; }

    /// <summary>The most tokens of a text.</summary>
    public int Positions { get; internal init; }

    /// <summary>What of an encoded text its outputs are made of.</summary>
    public TextPooling Pooling { get; internal init; }

    internal int VocabularySize { get; init; }

    internal double NormEpsilon { get; init; }

    internal Activation Activation { get; init; }

    internal IReadOnlyCollection<NamedTensor> Tensors => _tensors.Values;

    /// <summary>Reads a folder as Hugging Face has them: config.json and model.safetensors of an encoder of BERT's kind with its vocab.txt, or of RoBERTa's with its vocab.json and merges.txt.</summary>
    /// <param name="folder">The folder, downloaded.</param>
    /// <returns>The encoder and its pooler, without a head of its own: the outputs are those of the new task.</returns>
    /// <exception cref="FormatException">A file is none of these, or of an encoder of another kind; says which.</exception>
    /// <exception cref="IOException">A file is missing or cannot be read.</exception>
    public static TextWeights FromHuggingFace(string folder)
    {
        ArgumentNullException.ThrowIfNull(folder);
        return HuggingFaceFolder.Read(folder);
    }

    /// <summary>Reads an encoder of BERT's kind that was exported from PyTorch as ONNX, with its initialisers' names, as sentence-transformers have them beside their weights.</summary>
    /// <param name="model">The ONNX file; one that can be sought in.</param>
    /// <param name="vocabulary">Its vocab.txt.</param>
    /// <param name="isLowerCase">Whether texts are lower-cased, as for an uncased model.</param>
    /// <param name="pooling">What of an encoded text its outputs are made of.</param>
    /// <exception cref="FormatException">It is no such file; says what is missing.</exception>
    public static TextWeights FromOnnx(Stream model, Stream vocabulary, bool isLowerCase = true, TextPooling pooling = TextPooling.Mean)
    {
        ArgumentNullException.ThrowIfNull(model);
        return OnnxEncoder.Read(model, TextVocabulary.FromStream(vocabulary, isLowerCase), pooling);
    }

    internal IReadOnlyList<long>? ShapeOf(string name) => _tensors.GetValueOrDefault(name)?.Shape;
}
