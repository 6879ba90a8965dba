namespace Microsoft.ML.Distributed;

/// <summary>How the rows' features are encoded, sent, stored and trained on.</summary>
public enum FeatureEncoding
{
    /// <summary>Sparse where the column has 1,024 slots or more, and of its first 1,000 rows (or as many as hold 4 million values) at most one value in 16 is not zero; else dense.</summary>
    Auto,

    /// <summary>All features of a row, standardised: less their mean, over their deviation.</summary>
    Dense,

    /// <summary>
    /// The non-zero features of a row, at a cost in proportion to them: text, hashes, categories. They are scaled and not centred, missing
    /// ones (NaN) count as 0, and a step changes the first layer's weights of the features alone that its rows have. On CPUs of one worker.
    /// </summary>
    Sparse,
}
