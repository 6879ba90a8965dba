using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>Outputs of batches that a device has computed, or will: their metrics are made of many at once, since to read one waits for all that is queued.</summary>
internal sealed class QueuedOutputs(MetricSums metrics) : IDisposable
{
    private const long MostBytes = 16 << 20;
    private const int MostBatches = 64;

    private readonly List<Tensor> _outputs = [];
    private readonly List<Tensor> _labels = [];
    private readonly List<Tensor> _weights = [];
    private long _bytes;

    /// <summary>Whether it is time to read them.</summary>
    public bool IsFull => _bytes >= MostBytes || _outputs.Count >= MostBatches;

    public void Add(Tensor outputs, Batch batch)
    {
        // Outputs are each batch's own, labels and weights in memory of the next.
        _outputs.Add(outputs.detach().DetachFromDisposeScope());
        _labels.Add(batch.Labels.clone().DetachFromDisposeScope());
        if (batch.Weights is { } weights)
            _weights.Add(weights.clone().DetachFromDisposeScope());
        _bytes += outputs.numel() * sizeof(float);
    }

    /// <summary>Adds all to the sums. Device sync here.</summary>
    public void AddTo(Span<double> sums)
    {
        if (_outputs.Count == 0)
            return;
        using var scope = NewDisposeScope();
        metrics.Add(cat(_outputs).cpu(), cat(_labels).cpu(), _weights.Count == 0 ? null : cat(_weights).cpu(), sums);
        Clear();
    }

    public void Clear()
    {
        foreach (var tensors in (List<Tensor>[])[_outputs, _labels, _weights])
        {
            tensors.ForEach(t => t.Dispose());
            tensors.Clear();
        }

        _bytes = 0;
    }

    public void Dispose() => Clear();
}
