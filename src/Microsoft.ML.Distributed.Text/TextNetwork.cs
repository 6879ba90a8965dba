using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The encoder that the options describe.</summary>
/// <param name="text">The options.</param>
/// <param name="vocabulary">How many tokens there are, and which is the separator.</param>
/// <param name="tags">What each word is told to be; null: the whole text is.</param>
internal sealed class TextNetwork(TextOptions text, (int Size, int Separator) vocabulary, WordTags? tags = null) : NetworkModule
{
    /// <summary>The most tokens of a row where nothing else is said.</summary>
    public const int DefaultMaxTokens = 256;

    private const double OwnEpsilon = 1e-5;
    private readonly Lazy<JobFile>? _weights = text.Weights is { } weights ? new(() => new JobFile(TensorFile.Write(weights.Tensors))) : null;

    public override JobFile? Weights => _weights?.Value;

    public override ModuleSpec ToSpec(NeuralNetworkOptions options, int inputs, int outputs) => new()
    {
        Text = new TextSpec
        {
            InputSize = inputs,
            OutputSize = outputs,
            VocabularySize = vocabulary.Size,
            SeparatorId = vocabulary.Separator,
            Width = text.Weights?.Width ?? text.Width,
            Layers = text.Weights?.Layers ?? text.Layers,
            Heads = text.Weights?.Heads ?? text.Heads,
            FeedForwardSize = text.Weights?.FeedForwardSize ?? text.FeedForwardSize,
            Positions = text.Weights?.Positions ?? inputs,
            NormFirst = text.Weights is null,
            NormEpsilon = text.Weights?.NormEpsilon ?? OwnEpsilon,
            Activation = text.Weights?.Activation ?? Activation.Gelu,
            Tags = tags?.ToSpec(),
            Pooling = (MLDistributed.Protocol.TextPooling)(tags is not null ? TextPooling.Mean : text.Pooling ?? text.Weights?.Pooling ?? TextPooling.Mean),
            Dropout = text.Dropout,
            FrozenBlocks = text.FrozenLayers + 1 ?? 0,
            Adapter = text.Adapter?.ToSpec(),
        },
    };

    public override IEnumerable<string> Errors(NeuralNetworkOptions options)
    {
        if (options.HiddenLayers is not [256, 128])
            yield return "HiddenLayers is set beside a text encoder, expected it left alone. Set Layers and Width.";
        if (options.Activation != NetworkActivation.Relu || options.Normalization != NetworkNormalization.None || options.Dropout != 0)
            yield return "Activation, Normalization or Dropout of Training is set beside a text encoder, expected them left alone. Dropout is one of the text's own options.";
        if (text.Pooling is { } pooling && !Enum.IsDefined(pooling))
            yield return $"Pooling is {pooling:D}, expected one of {string.Join(", ", Enum.GetNames<TextPooling>())}.";
        if (tags is not null && text.Pooling is not null)
            yield return $"Pooling is {text.Pooling} for named entities, expected null: each word has outputs of its own.";
        if (text.FrozenLayers < 0)
            yield return $"FrozenLayers is {text.FrozenLayers}, expected 0 (the embeddings) or more, or null for none.";
    }

    public override void Describe(ModuleSpec spec, LabelStatistics labels)
    {
        spec.Text.OutputBias.Clear(); // of data that was lost and is sent again
        spec.Text.OutputBias.AddRange(tags?.OutputBias ?? labels.ToOutputBias());
    }
}
