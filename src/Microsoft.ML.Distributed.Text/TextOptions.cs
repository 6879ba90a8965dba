namespace Microsoft.ML.Distributed;

/// <summary>The options that all trainers of texts have. How they are trained is in <c>Training</c>.</summary>
/// <remarks>They are checked, all at once, when <c>Fit</c> starts.</remarks>
public abstract class TextOptions
{
    internal const int DefaultEpochs = 10;
    internal const int DefaultBatchSize = 32;
    internal const double DefaultWeightDecay = 0.01;
    internal const double DefaultClipNorm = 1;

    private protected TextOptions()
    {
    }

    /// <summary>The column of texts.</summary>
    /// <value>"Sentence1"; "Sentence" for named entities.</value>
    public string Sentence1ColumnName { get; set; } = "Sentence1";

    /// <summary>The column of second texts, where a row is a pair; null: there is none, as always for named entities.</summary>
    /// <value>null for classification, "Sentence2" for similarity.</value>
    public string? Sentence2ColumnName { get; set; }

    /// <summary>The output column of scores.</summary>
    /// <value>"Score"</value>
    public string ScoreColumnName { get; set; } = "Score";

    /// <summary>The pretrained encoder that training starts from, with its vocabulary.</summary>
    /// <value>null: an encoder of <see cref="Width"/> and <see cref="Layers"/> is trained from scratch.</value>
    public TextWeights? Weights { get; set; }

    /// <summary>The vocabulary of an encoder without <see cref="Weights"/>.</summary>
    /// <value>null: one of <see cref="VocabularySize"/> tokens, lower-cased, is learnt of the training texts, in one pass.</value>
    public TextVocabulary? Vocabulary { get; set; }

    /// <summary>The most tokens of a vocabulary that is learnt, from 100 to 1,000,000.</summary>
    /// <value>8192</value>
    public int VocabularySize { get; set; } = 8192;

    /// <summary>The most tokens of a row, its special tokens included, from 3 to the positions that the encoder has; longer texts are cut at their end, in training and in scoring.</summary>
    /// <value>null: those of the longest training text, at most 256.</value>
    public int? MaxTokens { get; set; }

    /// <summary>The numbers of a token in an encoder without <see cref="Weights"/>; a multiple of <see cref="Heads"/>.</summary>
    /// <value>128</value>
    public int Width { get; set; } = 128;

    /// <summary>The layers of an encoder without <see cref="Weights"/>.</summary>
    /// <value>2</value>
    public int Layers { get; set; } = 2;

    /// <summary>The attention heads of each layer of an encoder without <see cref="Weights"/>.</summary>
    /// <value>4</value>
    public int Heads { get; set; } = 4;

    /// <summary>The width within each layer's feed-forward of an encoder without <see cref="Weights"/>.</summary>
    /// <value>256</value>
    public int FeedForwardSize { get; set; } = 256;

    /// <summary>What the outputs are made of.</summary>
    /// <value>null: what the <see cref="Weights"/> were trained with; without, the mean.</value>
    public TextPooling? Pooling { get; set; }

    /// <summary>The probability, in [0, 1), of dropping a number of what each layer adds, in a training step.</summary>
    /// <value>0.1</value>
    public double Dropout { get; set; } = 0.1;

    /// <summary>How many layers, from the input on, keep their first weights, the embeddings with them: 0 for the embeddings alone.</summary>
    /// <value>null: all are trained.</value>
    public int? FrozenLayers { get; set; }

    /// <summary>Trains small additions to the layers, which stay as they are: less memory for the optimizer and less to compute.</summary>
    /// <value>null: the layers themselves are trained.</value>
    public LowRankAdapter? Adapter { get; set; }
}
