namespace Microsoft.ML.Distributed;

/// <summary>Runs a model for one row at a time. One scorer serves any number of threads; each takes a runner of its own.</summary>
internal interface IScorer : IDisposable
{
    int InputSize { get; }

    int OutputSize { get; }

    /// <summary>A runner with buffers of its own, for one thread at a time.</summary>
    RowScorer CreateRunner();

    /// <summary>The same, of rows that name their non-zero features alone; null: it wants them all.</summary>
    SparseRowScorer? CreateSparseRunner() => null;
}

/// <summary>Scores a row: features in, the graph's "score" output out.</summary>
internal delegate void RowScorer(ReadOnlySpan<float> features, Span<float> score);

/// <summary>Scores a row of which some features are named, by slot; the others are 0.</summary>
internal delegate void SparseRowScorer(ReadOnlySpan<int> slots, ReadOnlySpan<float> features, Span<float> score);
