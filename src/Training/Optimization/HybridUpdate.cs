using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Hierarchy;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using TorchSharp;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Ranks of several hosts: those of a host sum their gradients slice by slice into their leader's, the leaders all-reduce
/// these over the network, and every host makes the same update to its own copy of parameters and state, slice by slice.
/// </summary>
/// <remarks>
/// All that decides about an update, the totals and the norm by which it is clipped, is computed in an order that does
/// not depend on a host's ranks: hosts that differ in their last bit would drift apart.
/// </remarks>
internal sealed unsafe class HybridUpdate : IGradientStrategy
{
    // A block's gradients, parameters and moments stay in the first-level cache from the sum to the update.
    private const int BlockLength = 2048;

    // Parts of the norm, the same on all hosts; those of one local rank fit its scratch.
    private const int NormParts = 32;

    private readonly SharedMemoryCollective _local;
    private readonly SharedSegment _segment;
    private readonly ICollective? _hosts;
    private readonly Topology _topology;
    private readonly IReadOnlyList<FlatTensor> _tensors;
    private readonly double _clipNorm;
    private readonly WireType _wire;
    private readonly FlatOptimizer _optimizer;
    private readonly Shard _slice;
    private readonly double[] _told;
    private readonly PlannedWord _planned;
    private StepPart _sums;
    private int _meeting;

    /// <param name="topology">Where all ranks are.</param>
    /// <param name="local">This host's.</param>
    /// <param name="hosts">The leaders; null on a rank that is none.</param>
    /// <param name="host">This host, of the topology's.</param>
    /// <param name="layout">Of the parameters.</param>
    /// <param name="spec">The job.</param>
    public HybridUpdate(Topology topology, SharedMemoryCollective local, ICollective? hosts, int host, FlatLayout layout, JobSpec spec)
    {
        (_topology, _local, _hosts, _segment) = (topology, local, hosts, local.Segment);
        (_tensors, _clipNorm, _wire) = (layout.Parameters, spec.GradientClipNorm, GradientWire.Of(spec));
        _optimizer = FlatOptimizer.Create(spec.Optimizer, _segment);
        _slice = SliceOf(_segment.Rank);
        FirstRank = topology.Hosts[host].FirstRank;
        _planned = new PlannedWord(_segment, host == 0);
        _told = new double[2 * topology.WorldSize + 1];
    }

    private enum Quantity { LossSum, WeightSum, Loss, Weight, FirstNonFiniteRank, FirstNormPart = 8 }

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady => null;

    private int FirstRank { get; }

    private float* HostSum => _segment.Gradients(0);

    public void Add(int part, torch.Tensor loss, double weightSum) => _sums = new StepPart(_sums.LossSum + Losses.Number(loss), _sums.WeightSum + weightSum);

    public StepTotals? Step(double learningRate)
    {
        (ToldBy(_segment.Rank, Quantity.LossSum), ToldBy(_segment.Rank, Quantity.WeightSum)) = (_sums.LossSum, _sums.WeightSum);
        _sums = default;
        _local.Barrier();
        SumSlice();
        _local.Barrier();
        if (_hosts is not null)
            Join();
        _local.Barrier(HierarchicalCollective.LeaderLimit);
        var totals = new StepTotals(ToldBy(0, Quantity.Loss), ToldBy(0, Quantity.Weight), (int)ToldBy(0, Quantity.FirstNonFiniteRank));
        if (totals.FirstNonFiniteRank >= 0)
            return totals;
        var scale = totals.GradientScale;
        if (_clipNorm > 0)
        {
            var norm = Norm() * scale;
            if (!double.IsFinite(norm))
                return totals with { Loss = double.NaN, FirstNonFiniteRank = 0 };
            scale *= GradientClip.Scale(_clipNorm, norm);
        }

        _optimizer.Begin(learningRate, ++StepsTaken);
        Update((float)scale);
        _meeting = _local.Arrive();
        return totals;
    }

    public void AwaitParameters()
    {
        _local.Await(_meeting);
        SharedUpdate.Clear(_segment.Gradients(_segment.Rank), _segment.Length);
    }

    public Shard SliceOf(int rank) => Shard.Of(_segment.Length, rank, _segment.WorldSize);

    public void Dispose() { }

    // In rank order; nobody else reads the slice of any gradients.
    private void SumSlice()
    {
        for (var start = _slice.Start; _segment.WorldSize > 1 && start < _slice.End; start += BlockLength)
        {
            var count = (int)Math.Min(BlockLength, _slice.End - start);
            var sum = new Span<float>(HostSum + start, count);
            for (var rank = 1; rank < _segment.WorldSize; rank++)
                TensorPrimitives.Add(sum, new ReadOnlySpan<float>(_segment.Gradients(rank) + start, count), sum);
        }
    }

    // The leader's part: gradients and totals of all hosts.
    private void Join()
    {
        for (var start = 0L; start < _segment.Length; start += int.MaxValue)
            _hosts!.AllReduce(new Span<float>(HostSum + start, (int)Math.Min(int.MaxValue, _segment.Length - start)), _wire);
        Array.Clear(_told);
        for (var rank = 0; rank < _segment.WorldSize; rank++)
            (_told[2 * (FirstRank + rank)], _told[2 * (FirstRank + rank) + 1]) = (ToldBy(rank, Quantity.LossSum), ToldBy(rank, Quantity.WeightSum));
        _told[^1] = _planned.Told(StepsTaken + 1);
        _hosts!.AllReduce(_told);
        _planned.Hear(StepsTaken + 1, _told[^1]);
        var sum = new StepSum();
        for (var rank = 0; rank < _topology.WorldSize; rank++)
            sum.Add(rank, _told[2 * rank], _told[2 * rank + 1]);
        (ToldBy(0, Quantity.Loss), ToldBy(0, Quantity.Weight), ToldBy(0, Quantity.FirstNonFiniteRank)) = (sum.Totals.Loss, sum.Totals.WeightSum, sum.Totals.FirstNonFiniteRank);
    }

    private double Norm()
    {
        for (var part = _segment.Rank; part < NormParts; part += _segment.WorldSize)
        {
            var place = Shard.Of(_segment.Length, part, NormParts);
            var squares = 0.0;
            for (var start = place.Start; start < place.End; start += BlockLength)
                squares += TensorPrimitives.SumOfSquares(new ReadOnlySpan<float>(HostSum + start, (int)Math.Min(BlockLength, place.End - start)));
            NormPart(part) = squares;
        }

        _local.Barrier();
        var sum = 0.0;
        for (var part = 0; part < NormParts; part++)
            sum += NormPart(part);
        return Math.Sqrt(sum);
    }

    private void Update(float scale)
    {
        Span<float> block = stackalloc float[BlockLength];
        fixed (float* gradients = block)
        {
            foreach (var tensor in _tensors)
            {
                var end = Math.Min(tensor.Start + tensor.Length, _slice.End);
                for (var start = Math.Max(tensor.Start, _slice.Start); start < end; start += BlockLength)
                {
                    var count = (int)Math.Min(BlockLength, end - start);
                    TensorPrimitives.Multiply(new ReadOnlySpan<float>(HostSum + start, count), scale, block);
                    _optimizer.Update(start, gradients, count, tensor);
                }
            }
        }
    }

    private ref double NormPart(int part) => ref _segment.Scratch(part % _segment.WorldSize)[(int)Quantity.FirstNormPart + part / _segment.WorldSize];

    private ref double ToldBy(int rank, Quantity quantity) => ref _segment.Scratch(rank)[(int)quantity];
}
