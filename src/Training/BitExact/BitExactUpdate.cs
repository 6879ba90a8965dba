using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.BitExact;

/// <summary>
/// The update that gives the same bits on any number of ranks: gradients of parts are summed in a <see cref="SumTree"/>,
/// losses and norms in an order of parts and of fixed blocks. As <see cref="SharedUpdate"/>, each rank reduces and updates
/// its slice of the one copy of the parameters. The price is a buffer for every open sum, and one pass a part.
/// </summary>
internal sealed unsafe class BitExactUpdate : IGradientStrategy
{
    // Slices are whole blocks, so that a block's squares are always summed in one piece. Three blocks fit the first-level cache.
    private const int BlockLength = 2048;
    private const int Work = 0;

    private readonly SharedMemoryCollective _collective;
    private readonly SharedSegment _segment;
    private readonly SumTree _tree;
    private readonly IReadOnlyList<FlatTensor> _tensors;
    private readonly BatchSplit _split;
    private readonly double _clipNorm;
    private readonly int _parts;
    private readonly FlatOptimizer _optimizer;
    private readonly Shard _slice;
    private readonly float[] _stack;

    public BitExactUpdate(SharedMemoryCollective collective, FlatLayout layout, JobSpec spec)
    {
        _collective = collective;
        _segment = collective.Segment;
        _tensors = layout.Parameters;
        _clipNorm = spec.GradientClipNorm;
        _parts = spec.BitExact.MicroBatches;
        _split = BatchSplit.OfParts(_parts, collective.Rank, collective.WorldSize);
        _tree = new SumTree(_parts, collective.Rank, collective.WorldSize);
        _stack = new float[_tree.Depth * BlockLength];
        _slice = SliceOf(collective.Rank);
        _optimizer = FlatOptimizer.Create(spec.Optimizer, _segment);
    }

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady => null;

    public void Add(int part, StepPart sums)
    {
        var scratch = _segment.Scratch(_segment.Rank)[(2 * (part - _split.First))..];
        (scratch[0], scratch[1]) = (sums.LossSum, sums.WeightSum);
        var fold = _tree.FoldOf(part);
        for (var start = 0L; start < _segment.Length; start += BlockLength)
        {
            var work = Mine(Work, start);
            var sum = Mine(Slot(fold.Slot), start);
            if (fold.Merges == 0)
            {
                work.CopyTo(sum);
            }
            else
            {
                for (var slot = fold.Slot + fold.Merges - 1; slot > fold.Slot; slot--)
                    TensorPrimitives.Add(Mine(Slot(slot), start), work, work);
                TensorPrimitives.Add(sum, work, sum);
            }

            work.Clear();
        }
    }

    public StepTotals Step(double learningRate)
    {
        _collective.Barrier();
        var totals = Totals();
        if (totals.FirstNonFiniteRank >= 0)
            return totals;

        var scale = (float)totals.GradientScale;
        if (_clipNorm > 0)
        {
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
            {
                var gradient = Reduce(start, scale);
                gradient.CopyTo(Mine(Slot(0), start));
                *NormAt(_segment.Rank, start) = TensorPrimitives.SumOfSquares<float>(gradient);
            }

            _collective.Barrier();
            var norm = Norm(out var nonFinite);
            if (nonFinite >= 0)
                return totals with { Loss = double.NaN, FirstNonFiniteRank = nonFinite };
            var clip = (float)GradientClip.Scale(_clipNorm, norm);
            _optimizer.Begin(learningRate, ++StepsTaken);
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
            {
                var gradient = Mine(Slot(0), start);
                TensorPrimitives.Multiply(gradient, clip, gradient);
                Update(start, gradient);
            }
        }
        else
        {
            _optimizer.Begin(learningRate, ++StepsTaken);
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
                Update(start, Reduce(start, scale));
        }

        _collective.Barrier();
        if (_clipNorm > 0)
        {
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
                *NormAt(_segment.Rank, start) = 0;
        }

        return totals;
    }

    // The step itself waits: norms have to be cleared behind its last barrier.
    public void AwaitParameters() { }

    public void Dispose() { }

    public Shard SliceOf(int rank)
    {
        var blocks = Shard.Of((_segment.Length + BlockLength - 1) / BlockLength, rank, _segment.WorldSize);
        var start = Math.Min(blocks.Start * BlockLength, _segment.Length);
        return new Shard(start, Math.Min(blocks.End * BlockLength, _segment.Length) - start);
    }

    private static int Slot(int slot) => Work + 1 + slot;

    // The last block is shorter.
    private Span<float> Mine(int buffer, long start) =>
        new(_segment.Gradients(_segment.Rank, buffer) + start, (int)Math.Min(BlockLength, _segment.Length - start));

    // The head of a block of the buffer that backward fills, all zero between steps: nobody else's, as long as the block is in the rank's slice.
    private double* NormAt(int rank, long start) => (double*)(_segment.Gradients(rank, Work) + start);

    // Every part's loss and weight, in the order of parts.
    private StepTotals Totals()
    {
        var sum = new StepSum();
        for (var rank = 0; rank < _segment.WorldSize; rank++)
        {
            var scratch = _segment.Scratch(rank);
            var count = BatchSplit.OfParts(_parts, rank, _segment.WorldSize).Count;
            for (var i = 0; i < count; i++)
                sum.Add(rank, scratch[2 * i], scratch[2 * i + 1]);
        }

        return sum.Totals;
    }

    // Every block's squares, in the order of blocks.
    private double Norm(out int nonFiniteRank)
    {
        var squares = 0.0;
        nonFiniteRank = -1;
        for (var rank = 0; rank < _segment.WorldSize; rank++)
        {
            var slice = SliceOf(rank);
            for (var start = slice.Start; start < slice.End; start += BlockLength)
                squares += *NormAt(rank, start);
            if (nonFiniteRank < 0 && !double.IsFinite(squares))
                nonFiniteRank = rank;
        }

        return Math.Sqrt(squares);
    }

    // The mean gradient of a block, on the stack of blocks.
    private Span<float> Reduce(long start, float scale)
    {
        var length = (int)Math.Min(BlockLength, _segment.Length - start);
        var depth = 0;
        foreach (var term in _tree.Program)
        {
            if (term.IsAddition)
            {
                depth--;
                TensorPrimitives.Add(At(depth - 1), At(depth), At(depth - 1));
            }
            else
            {
                new ReadOnlySpan<float>(_segment.Gradients(term.Rank, Slot(term.Slot)) + start, length).CopyTo(At(depth++));
            }
        }

        TensorPrimitives.Multiply(At(0), scale, At(0));
        return At(0);

        Span<float> At(int index) => _stack.AsSpan(index * BlockLength, length);
    }

    private void Update(long start, Span<float> gradient)
    {
        fixed (float* gradients = gradient)
        {
            foreach (var tensor in _tensors)
            {
                var from = Math.Max(tensor.Start, start);
                var count = Math.Min(tensor.Start + tensor.Length, start + gradient.Length) - from;
                if (count > 0)
                    _optimizer.Update(from, gradients + (from - start), (int)count, tensor.Decays);
            }
        }
    }
}
