using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a runner of <see cref="TextScorer"/> computes in: as large as its longest row so far.</summary>
internal sealed class TextScoringMemory(TextSpec text)
{
    private readonly int[] _ids = new int[text.InputSize];
    private readonly float[] _pooled = new float[text.Width];
    private readonly float[] _shares = new float[text.InputSize];
    private float[][] _tokens = [];
    private float[] _wide = [];

    /// <summary>Tokens of the row, from the first to the last that is none of padding; at least 1.</summary>
    public int Length { get; private set; }

    /// <summary>The tokens, each within the vocabulary.</summary>
    public ReadOnlySpan<int> Ids => _ids.AsSpan(0, Length);

    /// <summary>The stream, tokens x width.</summary>
    public Span<float> X => Tokens(0);

    public Span<float> Query => Tokens(1);

    public Span<float> Key => Tokens(2);

    public Span<float> Value => Tokens(3);

    /// <summary>What attention mixes, tokens x width.</summary>
    public Span<float> Mixed => Tokens(4);

    /// <summary>What is added to the stream, tokens x width.</summary>
    public Span<float> Added => Tokens(5);

    /// <summary>The feed-forward's, tokens x its size.</summary>
    public Span<float> Wide => _wide.AsSpan(0, Length * text.FeedForwardSize);

    /// <summary>How much of each token a token takes.</summary>
    public Span<float> Shares => _shares.AsSpan(0, Length);

    /// <summary>The row's, width.</summary>
    public Span<float> Pooled => _pooled;

    /// <summary>Begins a row.</summary>
    public void Begin(ReadOnlySpan<float> features)
    {
        Length = 1;
        for (var i = 0; i < features.Length; i++)
        {
            // Not a number is 0, as in the graph.
            _ids[i] = features[i] > 0 ? (int)Math.Min(features[i], text.VocabularySize - 1) : 0;
            Length = _ids[i] > 0 ? i + 1 : Length;
        }

        if (_wide.Length >= Length * text.FeedForwardSize)
            return;
        _wide = new float[Length * text.FeedForwardSize];
        _tokens = [.. Enumerable.Range(0, 6).Select(_ => new float[Length * text.Width])];
    }

    /// <summary>Whether nothing sees a token: padding, but for the first.</summary>
    public bool IsHidden(int token) => token > 0 && _ids[token] == 0;

    private Span<float> Tokens(int index) => _tokens[index].AsSpan(0, Length * text.Width);
}
