using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Models;
using MLDistributed.Training.Profiling;
using TorchSharp;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Reduce-scatter, optimizer step and all-gather in one pass over shared memory: each rank sums its slice of everybody's
/// gradients in rank order and updates that slice of the one copy of the parameters. Two barriers a step, three when
/// gradients are clipped.
/// </summary>
/// <remarks>
/// A rank that is done does the slices of those that have not begun: with more ranks than cores, the ones that wait for a
/// core need it for their next batch only.
/// </remarks>
internal sealed unsafe class SharedUpdate : IGradientStrategy
{
    // A block's gradients, parameters and moments stay in the first-level cache from the sum to the update.
    private const int BlockLength = 2048;

    private readonly SharedMemoryCollective _collective;
    private readonly SharedSegment _segment;
    private readonly double _clipNorm;
    private readonly FlatOptimizer _optimizer;
    private readonly Slice[] _slices;
    private readonly TouchedParameters _touched;
    private readonly StepProfile? _profile;
    private StepPart _sums;
    private int _meeting;

    public SharedUpdate(SharedMemoryCollective collective, FlatLayout layout, JobSpec spec, StepProfile? profile)
    {
        _collective = collective;
        _segment = collective.Segment;
        _clipNorm = spec.GradientClipNorm;
        _profile = profile;
        _optimizer = FlatOptimizer.Create(spec.Optimizer, _segment);
        _touched = new TouchedParameters(_segment, layout, BlockLength);
        // Own first.
        _slices = [.. Enumerable.Range(0, WorldSize).Select(i => new Slice((Rank + i) % WorldSize, SliceOf((Rank + i) % WorldSize), layout))];
    }

    private enum Quantity { LossSum, WeightSum, SquaredNorm, Count }

    public long StepsTaken { get; set; }

    private int Rank => _segment.Rank;

    private int WorldSize => _segment.WorldSize;

    public Shard SliceOf(int rank) => Shard.Of(_segment.Length, rank, WorldSize);

    public Action<long>? GradientsReady => null;

    // Backward has added the part's gradients to those before it.
    public void Add(int part, torch.Tensor loss, double weightSum) => _sums = new StepPart(_sums.LossSum + Losses.Number(loss), _sums.WeightSum + weightSum);

    public StepTotals? Step(double learningRate)
    {
        (ToldBy(Rank, Quantity.LossSum), ToldBy(Rank, Quantity.WeightSum)) = (_sums.LossSum, _sums.WeightSum);
        _sums = default;
        _meeting = _collective.Arrive();
        _collective.Await(_meeting);
        _profile?.Lap(StepPhase.AwaitGradients);
        var totals = Totals();
        if (totals.FirstNonFiniteRank >= 0)
            return totals;

        var scale = (float)totals.GradientScale;
        if (_clipNorm > 0)
        {
            Share(slice => ToldBy(slice.Rank, Quantity.SquaredNorm) = ReduceInPlace(slice, scale));
            _collective.Await(_meeting);
            var norm = Norm(out var nonFinite);
            if (nonFinite >= 0)
                return totals with { Loss = double.NaN, FirstNonFiniteRank = nonFinite };
            scale = (float)GradientClip.Scale(_clipNorm, norm);
        }

        _optimizer.Begin(learningRate, ++StepsTaken);
        Share(slice => Update(slice, scale));
        _profile?.Lap(StepPhase.Update);
        return totals;
    }

    public void AwaitParameters()
    {
        _collective.Await(_meeting);
        foreach (var slice in _slices)
        {
            // Those that this rank updated were cleared then, while they were in the cache. Of a table, its own rows below.
            if (!slice.IsClear)
                Clear(_segment.Gradients(Rank) + slice.DenseStart, slice.Place.End - slice.DenseStart);
            slice.IsClear = false;
        }

        if (_touched.IsTable)
            _touched.Clear();

        _profile?.Lap(StepPhase.AwaitParameters);
    }

    public void Dispose() { }

    /// <summary>Zeroes floats of any number.</summary>
    internal static void Clear(float* values, long length)
    {
        for (var start = 0L; start < length; start += int.MaxValue)
            new Span<float>(values + start, (int)Math.Min(int.MaxValue, length - start)).Clear();
    }

    // To the next meeting. What a rank that waits for a core has not begun, one that runs does.
    private void Share(Action<Slice> work)
    {
        _meeting++;
        foreach (var slice in _slices)
        {
            if (!_collective.TryTake(slice.Rank, _meeting))
                continue;
            work(slice);
            _collective.Arrive(slice.Rank);
        }
    }

    // Sums a slice of all gradients into its rank's own, which nobody else reads there; returns the sum of squares.
    private double ReduceInPlace(Slice slice, float scale)
    {
        var squares = 0.0;
        Span<float> total = stackalloc float[BlockLength];
        var start = slice.Place.Start;
        for (int count; (count = _touched.Next(ref start, slice.Place.End)) > 0; start += count)
        {
            var sum = new Span<float>(_segment.Gradients(slice.Rank) + start, count);
            Sum(start, 0, WorldSize, scale, total[..sum.Length]);
            total[..sum.Length].CopyTo(sum);
            squares += TensorPrimitives.SumOfSquares<float>(sum);
            _touched.Mark(slice.Rank, start, count); // it clears what is in its gradients now, whoever marked it first
        }

        return squares;
    }

    // Updates a slice by the scaled sum of the gradients, and clears it in this rank's own.
    private void Update(Slice slice, float scale)
    {
        var (firstRank, rankCount) = _clipNorm > 0 ? (slice.Rank, 1) : (0, WorldSize);
        Span<float> total = stackalloc float[BlockLength];
        fixed (float* gradients = total)
        {
            foreach (var (part, tensor) in slice.Parts)
            {
                var start = part.Start;
                for (int count; (count = _touched.Next(ref start, part.End)) > 0; start += count)
                {
                    Sum(start, firstRank, rankCount, scale, total[..count]);
                    if (start >= slice.DenseStart)
                        Clear(_segment.Gradients(Rank) + start, count);
                    _optimizer.Update(start, gradients, count, tensor);
                }
            }
        }

        slice.IsClear = true;
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
        for (var rank = 0; rank < WorldSize; rank++)
            sum.Add(rank, ToldBy(rank, Quantity.LossSum), ToldBy(rank, Quantity.WeightSum));
        return sum.Totals;
    }

    private double Norm(out int firstNonFiniteRank)
    {
        var squares = 0.0;
        firstNonFiniteRank = -1;
        for (var rank = 0; rank < WorldSize; rank++)
        {
            squares += ToldBy(rank, Quantity.SquaredNorm);
            if (firstNonFiniteRank < 0 && !double.IsFinite(squares))
                firstNonFiniteRank = rank;
        }

        return Math.Sqrt(squares);
    }

    // Two sets that take turns: a rank may still read a step's while others tell the next one's.
    private ref double ToldBy(int rank, Quantity quantity) => ref _segment.Scratch(rank)[(int)(StepsTaken % 2) * (int)Quantity.Count + (int)quantity];

    /// <summary>A rank's slice.</summary>
    private sealed class Slice(int rank, Shard place, FlatLayout layout)
    {
        public int Rank => rank;

        public Shard Place => place;

        /// <summary>Where it is no part of a table with sparse rows, whose gradients each rank clears by its own marks.</summary>
        public long DenseStart { get; } = layout.Parameters is [{ HasSparseRows: true } table, ..] ? Math.Clamp(table.Length, place.Start, place.End) : place.Start;

        /// <summary>By parameter, as some do not decay.</summary>
        public (Shard Place, FlatTensor Tensor)[] Parts { get; } = [.. layout.Parameters.Select(p => (Place: Overlap(place, p.Start, p.Length), p)).Where(p => p.Place.Count > 0)];

        /// <summary>Whether this rank's own gradients are zero here.</summary>
        public bool IsClear { get; set; }

        private static Shard Overlap(Shard place, long start, long length)
        {
            var from = Math.Max(start, place.Start);
            return new Shard(from, Math.Max(0, Math.Min(start + length, place.End) - from));
        }
    }
}
