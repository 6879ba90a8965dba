using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Loop;
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
    private readonly StepProfile? _profile;
    private StepPart _sums;
    private int _arrival;

    public SharedUpdate(SharedMemoryCollective collective, FlatLayout layout, JobSpec spec, StepProfile? profile)
    {
        _collective = collective;
        _segment = collective.Segment;
        _clipNorm = spec.GradientClipNorm;
        _profile = profile;
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
        _profile?.Lap(StepPhase.AwaitGradients);
        var totals = Totals();
        if (totals.FirstNonFiniteRank >= 0)
            return totals;

        var scale = (float)totals.GradientScale;
        if (_clipNorm > 0)
        {
            mine[(int)ScratchIndex.SquaredNorm] = ReduceInPlace(scale);
            _collective.Barrier();
            var norm = Norm(out var nonFinite);
            if (nonFinite >= 0)
                return totals with { Loss = double.NaN, FirstNonFiniteRank = nonFinite };
            Optimizer.Begin(learningRate, ++StepsTaken);
            Update((float)GradientClip.Scale(_clipNorm, norm), _segment.Rank, 1);
        }
        else
        {
            Optimizer.Begin(learningRate, ++StepsTaken);
            Update(scale, 0, _segment.WorldSize);
        }

        _arrival = _collective.Arrive();
        _profile?.Lap(StepPhase.Update);
        return totals;
    }

    public void AwaitParameters()
    {
        _collective.Await(_arrival);
        // The slice itself was cleared with the update, while it was in the cache.
        Clear(_segment.Gradients(_segment.Rank), Slice.Start);
        Clear(_segment.Gradients(_segment.Rank) + Slice.End, _segment.Length - Slice.End);
        _profile?.Lap(StepPhase.AwaitParameters);
    }

    public void Dispose() { }

    /// <summary>Zeroes floats of any number.</summary>
    internal static void Clear(float* values, long length)
    {
        for (var start = 0L; start < length; start += int.MaxValue)
            new Span<float>(values + start, (int)Math.Min(int.MaxValue, length - start)).Clear();
    }

    // Sums the slice of all gradients into this rank's own, which nobody else reads there; returns the sum of squares.
    private double ReduceInPlace(float scale)
    {
        var squares = 0.0;
        Span<float> total = stackalloc float[BlockLength];
        for (var start = Slice.Start; start < Slice.End; start += BlockLength)
        {
            var sum = new Span<float>(_segment.Gradients(_segment.Rank) + start, (int)Math.Min(BlockLength, Slice.End - start));
            Sum(start, 0, _segment.WorldSize, scale, total[..sum.Length]);
            total[..sum.Length].CopyTo(sum);
            squares += TensorPrimitives.SumOfSquares<float>(sum);
        }

        return squares;
    }

    // Updates the slice by the scaled sum of some ranks' gradients, and clears it in this rank's own.
    private void Update(float scale, int firstRank, int rankCount)
    {
        Span<float> total = stackalloc float[BlockLength];
        fixed (float* gradients = total)
        {
            foreach (var (part, decays) in _parts)
            {
                for (var start = part.Start; start < part.End; start += BlockLength)
                {
                    var count = (int)Math.Min(BlockLength, part.End - start);
                    Sum(start, firstRank, rankCount, scale, total[..count]);
                    Clear(_segment.Gradients(_segment.Rank) + start, count);
                    Optimizer.Update(_segment.Parameters + start, gradients, start - Slice.Start, count, decays);
                }
            }
        }
    }

    // In rank order, not own first: the same sums for any slicing.
    private void Sum(long start, int firstRank, int rankCount, float scale, Span<float> total)
    {
        var length = total.Length;
        if (rankCount == 1)
        {
            TensorPrimitives.Multiply(Of(firstRank), scale, total);
            return;
        }

        // Fused, as most jobs of a desk have two ranks: (a + b) * scale.
        TensorPrimitives.AddMultiply(Of(firstRank), Of(firstRank + 1), rankCount == 2 ? scale : 1, total);
        for (var rank = firstRank + 2; rank < firstRank + rankCount; rank++)
            TensorPrimitives.AddMultiply(total, Of(rank), rank == firstRank + rankCount - 1 ? scale : 1, total);

        ReadOnlySpan<float> Of(int rank) => new(_segment.Gradients(rank) + start, length);
    }

    private StepTotals Totals()
    {
        var sum = new StepSum();
        for (var rank = 0; rank < _segment.WorldSize; rank++)
            sum.Add(rank, _segment.Scratch(rank)[(int)ScratchIndex.LossSum], _segment.Scratch(rank)[(int)ScratchIndex.WeightSum]);
        return sum.Totals;
    }

    private double Norm(out int firstNonFiniteRank)
    {
        var squares = 0.0;
        firstNonFiniteRank = -1;
        for (var rank = 0; rank < _segment.WorldSize; rank++)
        {
            squares += _segment.Scratch(rank)[(int)ScratchIndex.SquaredNorm];
            if (firstNonFiniteRank < 0 && !double.IsFinite(squares))
                firstNonFiniteRank = rank;
        }

        return Math.Sqrt(squares);
    }

    private Shard Overlap(long start, long length)
    {
        var from = Math.Max(start, Slice.Start);
        return new Shard(from, Math.Max(0, Math.Min(start + length, Slice.End) - from));
    }
}
