using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>
/// The metrics of an epoch's training rows, from the outputs that its steps compute anyway: a pass over these, which are
/// still in the cache, and one sum over the ranks an epoch.
/// </summary>
/// <remarks>An epoch that another attempt has begun has none: what its first rows were is not kept.</remarks>
internal sealed class EpochMetrics
{
    private readonly RankState _state;
    private readonly MetricSums _metrics;
    private readonly double[] _sums;
    private bool _isWhole;

    public EpochMetrics(RankState state)
    {
        (_state, _metrics) = (state, MetricSums.Of(state.Spec));
        _sums = new double[_metrics.Count];
    }

    /// <param name="isWhole">Whether the epoch begins with its first row.</param>
    public void Begin(bool isWhole)
    {
        _isWhole = isWhole;
        Array.Clear(_sums);
    }

    /// <summary>Adds a part of a step.</summary>
    public void Add(Tensor outputs, Batch batch)
    {
        if (_isWhole)
            _metrics.Add(outputs, batch.Labels, batch.Weights, _sums);
    }

    /// <summary>Joins those of all ranks: all call it at the end of each epoch.</summary>
    public double[] End()
    {
        if (!_isWhole)
            return [];
        _state.Collective.AllReduce(_sums);
        return _metrics.Values(_sums);
    }
}
