using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>
/// The metrics of an epoch's training rows, from the outputs that its steps compute anyway: a pass over these, which are
/// still in the cache, and one sum over the ranks an epoch. What stays on a device is looked at later.
/// </summary>
/// <remarks>An epoch that another attempt has begun has none: what its first rows were is not kept.</remarks>
internal sealed class EpochMetrics : IDisposable
{
    private readonly RankState _state;
    private readonly MetricSums _metrics;
    private readonly QueuedOutputs _queued;

    // Behind them, how many rows told no outputs.
    private readonly double[] _sums;
    private bool _isWhole;

    public EpochMetrics(RankState state)
    {
        (_state, _metrics) = (state, state.Model.Metrics(state.Spec));
        _queued = new QueuedOutputs(_metrics);
        _sums = new double[_metrics.Count + 1];
    }

    /// <summary>Whether it is time to <see cref="Settle"/>.</summary>
    public bool IsFull => _queued.IsFull;

    /// <param name="isWhole">Whether the epoch begins with its first row.</param>
    public void Begin(bool isWhole)
    {
        _isWhole = isWhole;
        Array.Clear(_sums);
    }

    /// <summary>Adds a part of a step.</summary>
    /// <param name="outputs">Null: the step told none, and the epoch has no metrics.</param>
    /// <param name="batch">Its rows.</param>
    public void Add(Tensor? outputs, Batch batch)
    {
        if (outputs is null)
            _sums[^1] += batch.Rows.Count;
        else if (_isWhole && _state.Tensors.StaysOnDevice)
            _queued.Add(outputs, batch);
        else if (_isWhole)
            _metrics.Add(outputs, batch.Labels, batch.Weights, _sums.AsSpan(0, _metrics.Count));
    }

    /// <summary>Looks at what is on a device. Device sync here.</summary>
    public void Settle() => _queued.AddTo(_sums.AsSpan(0, _metrics.Count));

    /// <summary>Joins those of all ranks: all call it at the end of each epoch.</summary>
    public double[] End()
    {
        if (!_isWhole)
            return [];
        Settle();
        _state.Collective.AllReduce(_sums);
        return _sums[^1] > 0 ? [] : _metrics.Values(_sums.AsSpan(0, _metrics.Count));
    }

    public void Dispose() => _queued.Dispose();
}
