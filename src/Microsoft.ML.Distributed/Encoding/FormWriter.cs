using Microsoft.ML.Data;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Writes rows as dense or sparse ones. Where that is open, the first rows wait in memory until it is decided, so that data is
/// read once; it depends on them alone.
/// </summary>
/// <param name="form">What was asked for.</param>
/// <param name="open">Opens the writer, of sparse rows or not.</param>
/// <param name="featureCount">Slots of a row.</param>
internal sealed class FormWriter(FeatureEncoding form, Func<bool, BatchWriter> open, int featureCount) : IDisposable
{
    /// <summary>Narrower rows are dense: a step multiplies them as matrices, which is some ten times as fast a number.</summary>
    public const int LeastSparseWidth = 1024;

    /// <summary>Sparse are rows of which at most one feature in so many is not zero.</summary>
    public const int LeastSparsity = 16;

    private const int RowsToDecide = 1000;
    private const int ValuesToDecide = 1 << 22;

    private readonly List<(VBuffer<float> Features, float Label, float Weight)> _waiting = [];
    private BatchWriter? _writer = form == FeatureEncoding.Auto && featureCount >= LeastSparseWidth ? null : open(form == FeatureEncoding.Sparse);
    private long _values;

    public DatasetShape Shape => Writer.Shape;

    public long NonZeroCount => Writer.NonZeroCount;

    public IFeatureStatistics? Statistics => Writer.Statistics;

    private BatchWriter Writer => _writer ?? throw new InvalidOperationException("The form is not decided yet.");

    /// <summary>Adds a row; true when that wrote a batch.</summary>
    public bool Add(in VBuffer<float> features, float label, float weight)
    {
        if (_writer is not null)
            return _writer.Add(in features, label, weight);
        VBuffer<float> copy = default;
        features.CopyTo(ref copy);
        _waiting.Add((copy, label, weight));
        _values += copy.GetValues().Length;
        if (_waiting.Count == RowsToDecide || _values >= ValuesToDecide)
            Decide();
        return false;
    }

    public (ContentHash Id, long RowCount) Complete()
    {
        if (_writer is null)
            Decide();
        return Writer.Complete();
    }

    public void Dispose() => _writer?.Dispose();

    private void Decide()
    {
        var nonZeros = 0L;
        foreach (var (features, _, _) in _waiting)
            foreach (var value in features.GetValues())
                nonZeros += SparseBatchWriter.Counts(value) ? 1 : 0;
        _writer = open(nonZeros * LeastSparsity <= (long)_waiting.Count * featureCount);
        foreach (var (features, label, weight) in _waiting)
            _writer.Add(in features, label, weight);
        _waiting.Clear();
    }
}
