using System.Numerics.Tensors;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using TorchSharp;

namespace MLDistributed.Training.BitExact;

/// <summary>
/// The update that gives the same bits on any number of ranks and hosts: gradients of parts are summed in a
/// <see cref="SumTree"/>, losses and norms in an order of parts and of fixed blocks. As <see cref="SharedUpdate"/>, each
/// rank reduces and updates its slice of its host's copy of the parameters. The price is a buffer for every open sum, and
/// one pass a part.
/// </summary>
internal sealed unsafe class BitExactUpdate : IGradientStrategy
{
    // Slices are whole blocks, so that a block's squares are always summed in one piece. Three blocks fit the first-level cache.
    public const int BlockLength = 2048;
    private const int Work = 0;

    private readonly SharedMemoryCollective _local;
    private readonly SharedSegment _segment;
    private readonly HostSums? _hosts;
    private readonly SumTree _tree;
    private readonly TreeSum? _sum;
    private readonly IReadOnlyList<FlatTensor> _tensors;
    private readonly BatchSplit _split;
    private readonly double _clipNorm;
    private readonly int _parts;
    private readonly int _firstRank;
    private readonly int _worldSize;
    private readonly FlatOptimizer _optimizer;
    private readonly Shard _slice;

    /// <param name="local">The ranks of this host.</param>
    /// <param name="topology">Where all ranks are.</param>
    /// <param name="host">This host, of the topology's.</param>
    /// <param name="leaders">The leaders of all hosts; null on a rank that is none, or of one host.</param>
    /// <param name="layout">Of the parameters.</param>
    /// <param name="spec">The job.</param>
    public BitExactUpdate(SharedMemoryCollective local, Topology topology, int host, ICollective? leaders, FlatLayout layout, JobSpec spec)
    {
        (_local, _segment) = (local, local.Segment);
        (_firstRank, _worldSize) = (topology.Hosts[host].FirstRank, topology.WorldSize);
        _tensors = layout.Parameters;
        _clipNorm = spec.GradientClipNorm;
        _parts = spec.BitExact.MicroBatches;
        _split = BatchSplit.OfParts(_parts, _firstRank + local.Rank, _worldSize);
        _tree = SumTree.OfRanks(_parts, _worldSize);
        _slice = SliceOf(local.Rank);
        _optimizer = FlatOptimizer.Create(spec.Optimizer, _segment);
        if (topology.Hosts.Count == 1)
            _sum = new TreeSum([_tree.Program], BlockLength, term => (nint)_segment.Gradients(term.Holder, Buffer(term.Slot)));
        else
            _hosts = new HostSums(local, topology, host, leaders, _tree, _parts, BatchSplit.OfParts(_parts, _firstRank, _worldSize).First);
    }

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady => null;

    public void Add(int part, torch.Tensor loss, double weightSum)
    {
        var scratch = _segment.Scratch(_segment.Rank)[(2 * (part - _split.First))..];
        (scratch[0], scratch[1]) = (Losses.Number(loss), weightSum);
        var fold = _tree.FoldOf(part);
        for (var start = 0L; start < _segment.Length; start += BlockLength)
        {
            var work = Mine(Work, start);
            var sum = Mine(Buffer(fold.Slot), start);
            if (fold.Merges == 0)
            {
                work.CopyTo(sum);
            }
            else
            {
                for (var slot = fold.Slot + fold.Merges - 1; slot > fold.Slot; slot--)
                    TensorPrimitives.Add(Mine(Buffer(slot), start), work, work);
                TensorPrimitives.Add(sum, work, sum);
            }

            work.Clear();
        }
    }

    public StepTotals? Step(double learningRate)
    {
        _local.Barrier();
        _hosts?.Join(StepsTaken + 1, _slice, ToldBy);
        var totals = Totals();
        if (totals.FirstNonFiniteRank >= 0)
            return totals;

        var scale = (float)totals.GradientScale;
        if (_clipNorm > 0)
        {
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
            {
                var gradient = Mean(start, scale);
                gradient.CopyTo(Mine(Buffer(0), start));
                *NormAt(_segment.Rank, start) = TensorPrimitives.SumOfSquares<float>(gradient);
            }

            _local.Barrier();
            var norm = Norm(out var nonFinite);
            if (nonFinite >= 0)
                return totals with { Loss = double.NaN, FirstNonFiniteRank = nonFinite };
            var clip = (float)GradientClip.Scale(_clipNorm, norm);
            _optimizer.Begin(learningRate, ++StepsTaken);
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
            {
                var gradient = Mine(Buffer(0), start);
                TensorPrimitives.Multiply(gradient, clip, gradient);
                Update(start, gradient);
            }
        }
        else
        {
            _optimizer.Begin(learningRate, ++StepsTaken);
            for (var start = _slice.Start; start < _slice.End; start += BlockLength)
                Update(start, Mean(start, scale));
        }

        _local.Barrier();
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

    /// <summary>Which of a rank's buffers is a slot of the tree: the first is what backward fills.</summary>
    public static int Buffer(int slot) => Work + 1 + slot;

    /// <summary>How many buffers a rank has.</summary>
    public static int BuffersOf(int parts, Topology topology) =>
        Buffer(Math.Max(SumTree.OfRanks(parts, topology.WorldSize).Slots, topology.Hosts.Count == 1 ? 0 : HostSums.SlotsOf(parts, topology)));

    // The last block is shorter.
    private Span<float> Mine(int buffer, long start) =>
        new(_segment.Gradients(_segment.Rank, buffer) + start, (int)Math.Min(BlockLength, _segment.Length - start));

    // The head of a block of the buffer that backward fills, all zero between steps: nobody else's, as long as the block is in the rank's slice.
    private double* NormAt(int rank, long start) => (double*)(_segment.Gradients(rank, Work) + start);

    // Losses and weights of a local rank's parts, by turns.
    private ReadOnlySpan<double> ToldBy(int rank) => _segment.Scratch(rank)[..(2 * BatchSplit.OfParts(_parts, _firstRank + rank, _worldSize).Count)];

    // Every part's loss and weight, in the order of parts.
    private StepTotals Totals()
    {
        var sum = new StepSum();
        var all = _hosts is null ? default : _hosts.Told;
        for (var rank = 0; rank < _worldSize; rank++)
        {
            var split = BatchSplit.OfParts(_parts, rank, _worldSize);
            var told = _hosts is null ? ToldBy(rank) : all.Slice(2 * split.First, 2 * split.Count);
            for (var i = 0; i < told.Length; i += 2)
                sum.Add(rank, told[i], told[i + 1]);
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

    // The mean gradient of a block of this rank's slice, which nobody else has.
    private Span<float> Mean(long start, float scale)
    {
        var length = (int)Math.Min(BlockLength, _segment.Length - start);
        var sum = _hosts is null ? _sum!.Of(0, start, length) : _hosts.Of(start, length);
        TensorPrimitives.Multiply(sum, scale, sum);
        return sum;
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
                    _optimizer.Update(from, gradients + (from - start), (int)count, tensor);
            }
        }
    }
}
