using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Reduce-scatter, optimizer step and all-gather in one pass over shared memory: each rank sums its slice of everybody's
/// gradients in rank order and updates that slice of the one copy of the parameters. Two barriers a step, three when
/// gradients are clipped.
/// </summary>
internal sealed unsafe class SharedUpdate : IGradientStrategy
{
    // A block's gradients, parameters and moments stay in the first-level cache from the sum to the update.
    private const int BlockLength = 2048;

    private readonly SharedMemoryCollective _collective;
    private readonly SharedSegment _segment;
    private readonly double _clipNorm;
    private readonly (Shard Part, bool Decays)[] _parts;
    private StepPart _sums;

    public SharedUpdate(SharedMemoryCollective collective, FlatLayout layout, JobSpec spec)
    {
        _collective = collective;
        _segment = collective.Segment;
        _clipNorm = spec.GradientClipNorm;
        Slice = SliceOf(collective.Rank);
        Optimizer = FlatOptimizer.Create(spec.Optimizer, Slice.Count);
        _parts = [.. layout.Parameters.Select(p => (Part: Overlap(p.Start, p.Length), p.Decays)).Where(p => p.Part.Count > 0)];
    }

    private enum ScratchIndex { LossSum, WeightSum, SquaredNorm }

    public long StepsTaken { get; set; }

    public FlatOptimizer Optimizer { get; }

    public Shard Slice { get; }

    public Shard SliceOf(int rank) => Shard.Of(_segment.Length, rank, _segment.WorldSize);

    public Action<long>? GradientsReady => null;

    // Backward has added the part's gradients to those before it.
    public void Add(int part, StepPart sums) => _sums = new StepPart(_sums.LossSum + sums.LossSum, _sums.WeightSum + sums.WeightSum);

    public StepTotals Step(double learningRate)
    {
        var mine = _segment.Scratch(_segment.Rank);
        (mine[(int)ScratchIndex.LossSum], mine[(int)ScratchIndex.WeightSum]) = (_sums.LossSum, _sums.WeightSum);
        _sums = default;
        _collective.Barrier();
        var weight = SumScratch(ScratchIndex.WeightSum, out _);
        var loss = weight > 0 ? SumScratch(ScratchIndex.LossSum, out var nonFinite) / weight : SumScratch(ScratchIndex.LossSum, out nonFinite);
        if (nonFinite >= 0)
            return new StepTotals(loss, weight, nonFinite);

        var scale = weight > 0 ? 1 / weight : 0;
        if (_clipNorm > 0)
        {
            ForEachBlock((float)scale, reduce: true, update: false, out var squares);
            mine[(int)ScratchIndex.SquaredNorm] = squares;
            _collective.Barrier();
            var norm = Math.Sqrt(SumScratch(ScratchIndex.SquaredNorm, out nonFinite));
            if (nonFinite >= 0)
                return new StepTotals(double.NaN, weight, nonFinite);
            Optimizer.Begin(learningRate, ++StepsTaken);
            ForEachBlock((float)Math.Min(1, _clipNorm / (norm + 1e-6)), reduce: false, update: true, out _);
        }
        else
        {
            Optimizer.Begin(learningRate, ++StepsTaken);
            ForEachBlock((float)scale, reduce: true, update: true, out _);
        }

        _collective.Barrier();
        Clear(_segment.Gradients(_segment.Rank), _segment.Length);
        return new StepTotals(loss, weight, -1);
    }

    public void Dispose() { }

    /// <summary>Zeroes floats of any number.</summary>
    internal static void Clear(float* values, long length)
    {
        for (var start = 0L; start < length; start += int.MaxValue)
            new Span<float>(values + start, (int)Math.Min(int.MaxValue, length - start)).Clear();
    }

    private void ForEachBlock(float scale, bool reduce, bool update, out double squares)
    {
        squares = 0;
        foreach (var (part, decays) in _parts)
        {
            for (var start = part.Start; start < part.End; start += BlockLength)
            {
                var count = (int)Math.Min(BlockLength, part.End - start);
                var sum = new Span<float>(_segment.Gradients(_segment.Rank) + start, count);
                if (reduce)
                    Reduce(start, sum);
                if (scale != 1)
                    TensorPrimitives.Multiply(sum, scale, sum);
                if (update)
                    Optimizer.Update(_segment.Parameters + start, _segment.Gradients(_segment.Rank) + start, start - Slice.Start, count, decays);
                else
                    squares += TensorPrimitives.SumOfSquares<float>(sum);
            }
        }
    }

    // Into this rank's own gradients, which nobody else reads in this slice. Rank order, not own first: the same sums for any slicing.
    private void Reduce(long start, Span<float> sum)
    {
        if (_segment.WorldSize == 1)
            return;
        Span<float> total = stackalloc float[BlockLength];
        var length = sum.Length;
        total = total[..length];
        TensorPrimitives.Add(Of(0), Of(1), total);
        for (var rank = 2; rank < _segment.WorldSize; rank++)
            TensorPrimitives.Add(total, Of(rank), total);
        total.CopyTo(sum);

        ReadOnlySpan<float> Of(int rank) => new(_segment.Gradients(rank) + start, length);
    }

    private double SumScratch(ScratchIndex index, out int firstNonFinite)
    {
        var sum = 0.0;
        firstNonFinite = -1;
        for (var rank = 0; rank < _segment.WorldSize; rank++)
        {
            var value = _segment.Scratch(rank)[(int)index];
            if (!double.IsFinite(value) && firstNonFinite < 0)
                firstNonFinite = rank;
            sum += value;
        }

        return sum;
    }

    private Shard Overlap(long start, long length)
    {
        var from = Math.Max(start, Slice.Start);
        return new Shard(from, Math.Max(0, Math.Min(start + length, Slice.End) - from));
    }
}
