using System.Numerics.Tensors;
using System.Runtime.ExceptionServices;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Models;
using TorchSharp;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Ranks that share no memory: gradients are all-reduced in buckets, last layers first, on a thread of their own while
/// backward computes the others (Li et al. 2020, "PyTorch Distributed"). Every rank then makes the same update to the
/// whole of its own parameters.
/// </summary>
internal sealed unsafe class OverlappedUpdate : IGradientStrategy
{
    // 1 MiB: long enough for a network's bandwidth, short enough to start early.
    private const long BucketLength = 1 << 18;

    // A block's gradients, parameters and moments stay in the first-level cache.
    private const int BlockLength = 2048;

    private readonly ICollective _transport;
    private readonly SharedSegment _memory;
    private readonly BatchSplit _split;
    private readonly IReadOnlyList<FlatTensor> _tensors;
    private readonly double _clipNorm;
    private readonly WireType _wire;
    private readonly FlatOptimizer _optimizer;
    private readonly long _length;
    private readonly int _bucketCount;
    // Loss and weight of each rank, in a place of its own: the sum keeps who had a loss that is not finite.
    private readonly double[] _totals;
    private readonly SemaphoreSlim _ready = new(0);
    private readonly SemaphoreSlim _joined = new(0);
    private readonly Thread _thread;
    private Exception? _failure;
    private volatile bool _disposed;
    private int _sent;
    private int _partsAdded;

    public OverlappedUpdate(ICollective transport, SharedSegment memory, FlatLayout layout, JobSpec spec, BatchSplit split)
    {
        (_transport, _memory, _split) = (transport, memory, split);
        _length = layout.ParameterLength;
        _optimizer = FlatOptimizer.Create(spec.Optimizer, memory);
        (_tensors, _clipNorm, _wire) = (layout.Parameters, spec.GradientClipNorm, GradientWire.Of(spec));
        _bucketCount = (int)((_length + BucketLength - 1) / BucketLength);
        _totals = new double[2 * transport.WorldSize];
        GradientsReady = Ready;
        _thread = new Thread(Join) { IsBackground = true, Name = "gradients" };
        _thread.Start();
    }

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady { get; }

    private float* Gradients => _memory.Gradients(_memory.Rank);

    public void Add(int part, torch.Tensor loss, double weightSum)
    {
        if (_partsAdded++ == 0)
            Array.Clear(_totals);
        _totals[2 * _transport.Rank] += Losses.Number(loss);
        _totals[2 * _transport.Rank + 1] += weightSum;
    }

    public StepTotals? Step(double learningRate)
    {
        Send(_bucketCount + 1);
        _joined.Wait();
        if (_failure is { } failure)
            ExceptionDispatchInfo.Throw(failure);
        (_sent, _partsAdded) = (0, 0);
        var totals = Totals();
        if (totals.FirstNonFiniteRank < 0 && !Update(totals.GradientScale, learningRate))
            totals = totals with { Loss = double.NaN, FirstNonFiniteRank = 0 };
        SharedUpdate.Clear(Gradients, _length);
        return totals;
    }

    // Every rank updates its own.
    public void AwaitParameters() { }

    /// <summary>Every rank has the whole.</summary>
    public Shard SliceOf(int rank) => new(0, _length);

    public void Dispose()
    {
        // A step that will not be finished: the thread may wait for other ranks.
        if (_sent > 0)
            _transport.Abort();
        _disposed = true;
        _ready.Release();
        _thread.Join();
        _ready.Dispose();
        _joined.Dispose();
    }

    // Called by backward. Gradients of earlier parts wait for those of the last.
    private void Ready(long from)
    {
        if (_partsAdded == _split.Count - 1)
            Send((int)((_length - from) / BucketLength));
    }

    private void Send(int buckets)
    {
        if (buckets <= _sent)
            return;
        _ready.Release(buckets - _sent);
        _sent = buckets;
    }

    // Buckets from the end on, and after them the totals.
    private void Join()
    {
        try
        {
            while (true)
            {
                for (var bucket = 1; bucket <= _bucketCount; bucket++)
                {
                    _ready.Wait();
                    if (_disposed)
                        return;
                    var start = Math.Max(0, _length - bucket * BucketLength);
                    var end = _length - (bucket - 1) * BucketLength;
                    _transport.AllReduce(new Span<float>(Gradients + start, (int)(end - start)), _wire);
                }

                _ready.Wait();
                if (_disposed)
                    return;
                _transport.AllReduce(_totals);
                _joined.Release();
            }
        }
        catch (Exception e)
        {
            _failure = e;
            _joined.Release();
        }
    }

    /// <returns>False when the gradients are not finite: nothing was updated.</returns>
    private bool Update(double scale, double learningRate)
    {
        if (_clipNorm > 0)
        {
            var squares = 0.0;
            for (var start = 0L; start < _length; start += BlockLength)
                squares += TensorPrimitives.SumOfSquares(new ReadOnlySpan<float>(Gradients + start, (int)Math.Min(BlockLength, _length - start)));
            var norm = Math.Sqrt(squares) * scale;
            if (!double.IsFinite(norm))
                return false;
            scale *= GradientClip.Scale(_clipNorm, norm);
        }

        _optimizer.Begin(learningRate, ++StepsTaken);
        foreach (var tensor in _tensors)
        {
            for (var start = tensor.Start; start < tensor.Start + tensor.Length; start += BlockLength)
            {
                var block = new Span<float>(Gradients + start, (int)Math.Min(BlockLength, tensor.Start + tensor.Length - start));
                TensorPrimitives.Multiply(block, (float)scale, block);
                _optimizer.Update(start, Gradients + start, block.Length, tensor);
            }
        }

        return true;
    }

    private StepTotals Totals()
    {
        var sum = new StepSum();
        for (var rank = 0; rank < _transport.WorldSize; rank++)
            sum.Add(rank, _totals[2 * rank], _totals[2 * rank + 1]);
        return sum.Totals;
    }
}
