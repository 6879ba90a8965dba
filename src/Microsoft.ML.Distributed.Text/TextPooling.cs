namespace Microsoft.ML.Distributed;

/// <summary>What of an encoded text its outputs are made of.</summary>
public enum TextPooling
{
    /// <summary>A layer with tanh of the first token, as BERT's own.</summary>
    First,

    /// <summary>The mean of all tokens, as of sentence-transformers.</summary>
    Mean,
}
