using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// The update of ranks whose everything is on their devices: queued behind backward, without a device sync. Losses and norms
/// stay there until <see cref="Settle"/> reads those of many steps at once.
/// </summary>
/// <remarks>
/// Several ranks sum their gradients from device to device in buckets, last layers first, while backward computes the others. Each rank of a host
/// updates its part of the parameters, and they give one another what is new. Where all are on one host, a rank gets the sums of its part alone:
/// the two halves of an all-reduce, with the update between. Several hosts have the parameters and the state once each, as any may be lost.
/// Before the update ranks meet on the host, with a step's weights: so none runs ahead of the checkpoints that rank 0 plans.
/// </remarks>
internal sealed unsafe class DeviceUpdate : IGradientStrategy
{
    /// <summary>16 MiB: long enough for a bus between devices, short enough to start early.</summary>
    public const long BucketLength = 1 << 22;

    private readonly DeviceTensors _tensors;
    private readonly ICollective _ranks;
    private readonly DeviceExchange? _exchange;
    private readonly BatchSplit _split;
    private readonly bool _isScattered;
    private readonly long _length;
    private readonly long _bucketLength;
    private readonly double _clipNorm;
    private readonly PlannedWord? _planned;
    private readonly DeviceOptimizer _optimizer;
    private readonly List<QueuedStep> _steps = [];

    // Of each rank, in a place of its own: the sum keeps who had a loss that is not finite.
    private readonly Tensor? _told;
    private List<Tensor> _losses = [];
    private double _weightSum;
    private long _unsent;

    /// <param name="tensors">Parameters, gradients and state.</param>
    /// <param name="ranks">All of them, on their hosts.</param>
    /// <param name="exchange">Sums over their devices, disposed with this; null: there is one rank.</param>
    /// <param name="layout">Of the parameters.</param>
    /// <param name="spec">The job.</param>
    /// <param name="split">Of this rank.</param>
    /// <param name="planned">What rank 0 plans, where ranks are on several hosts; null: they are on one.</param>
    /// <param name="bucketLength">Gradients that are summed at a time, where they are not by blocks of the tensors'.</param>
    public DeviceUpdate(DeviceTensors tensors, ICollective ranks, DeviceExchange? exchange, FlatLayout layout, JobSpec spec, BatchSplit split, PlannedWord? planned = null, long bucketLength = BucketLength)
    {
        (_tensors, _ranks, _exchange, _split, _clipNorm, _planned) = (tensors, ranks, exchange, split, spec.GradientClipNorm, planned);
        _isScattered = exchange is not null && tensors.Shards.RankCount == ranks.WorldSize;
        (_length, _bucketLength) = _isScattered ? (tensors.Shards.PaddedLength, tensors.Shards.BlockLength) : (tensors.Shards.Length, bucketLength);
        _optimizer = new DeviceOptimizer(spec.Optimizer, tensors, layout);
        _unsent = _length;
        if (exchange is null)
            return;
        _told = zeros(ranks.WorldSize, device: tensors.Gradients.device).DetachFromDisposeScope();
        GradientsReady = Ready;
    }

    public long StepsTaken { get; set; }

    public Action<long>? GradientsReady { get; }

    /// <summary>Of what the ranks bring to the host, each keeps a part.</summary>
    public Shard SliceOf(int rank) => Shard.Of(_tensors.Shards.Length, rank, _tensors.Shards.RankCount);

    public void Add(int part, Tensor loss, double weightSum)
    {
        _losses.Add(Keep(loss));
        _weightSum += weightSum;
    }

    public StepTotals? Step(double learningRate)
    {
        using var scope = NewDisposeScope();
        using var frozen = no_grad();
        var (losses, weights) = _exchange is null ? (_losses, new[] { _weightSum }) : Join(_exchange);
        if (_exchange is null)
            _losses = [];
        var weightSum = weights.Sum();
        _steps.Add(new QueuedStep(losses, weights, Scale(weightSum > 0 ? 1 / weightSum : 0)));
        _weightSum = 0;
        _optimizer.Update(learningRate, ++StepsTaken);
        _tensors.Gather();
        _tensors.ClearGradients();
        return null;
    }

    public void AwaitParameters() { }

    public IReadOnlyList<StepTotals> Settle()
    {
        if (_steps.Count == 0)
            return [];
        using var scope = NewDisposeScope();
        var numbers = cat([.. _steps.SelectMany(s => s.Numbers).Select(n => n.reshape(-1))]).cpu(); // device sync here
        _exchange?.ThrowIfFailed();
        var next = (float*)TorchMemory.Data(numbers);
        var totals = new List<StepTotals>(_steps.Count);
        foreach (var step in _steps)
        {
            var told = Totals(step, ref next);
            var isFinite = step.Norm is null || float.IsFinite(*next++);
            totals.Add(isFinite || told.FirstNonFiniteRank >= 0 ? told : told with { Loss = double.NaN, FirstNonFiniteRank = 0 });
        }

        Forget();
        return totals;
    }

    public void Dispose()
    {
        _exchange?.Dispose();
        Forget();
        ForgetLosses();
        _told?.Dispose();
        _optimizer.Dispose();
    }

    // Called by backward. Gradients of earlier parts wait for those of the last.
    private void Ready(long from)
    {
        if (_losses.Count < _split.Count - 1)
            return;
        while (_unsent - _bucketLength >= from)
            Send(_bucketLength);
    }

    private void Send(long count)
    {
        _unsent -= count;
        var gradients = (nint)(_tensors.GradientsAt + _unsent);
        if (_isScattered)
            _exchange!.ReduceScatter(gradients, _tensors.Shards.PartLength);
        else
            _exchange!.AllReduce(gradients, count);
    }

    // Gradients, losses and weights of all ranks: the first two on the devices, in their order, the last here.
    private (List<Tensor> Losses, double[] Weights) Join(DeviceExchange exchange)
    {
        while (_unsent > 0)
            Send(Math.Min(_bucketLength, _unsent));
        _unsent = _length;
        _told!.zero_();
        _told.narrow(0, _ranks.Rank, 1).copy_(stack(_losses).sum());
        ForgetLosses();
        exchange.AllReduce((nint)TorchMemory.Data(_told), _ranks.WorldSize);
        exchange.Join();
        return ([_told.clone().DetachFromDisposeScope()], Meet());
    }

    private double[] Meet()
    {
        var told = new double[_ranks.WorldSize + 1];
        told[_ranks.Rank] = _weightSum;
        if (_ranks.Rank == 0)
            told[^1] = _planned?.Told(StepsTaken + 1) ?? 0;
        _ranks.AllReduce(told);
        _planned?.Hear(StepsTaken + 1, told[^1]);
        return told[..^1];
    }

    private static StepTotals Totals(QueuedStep step, ref float* next)
    {
        var sum = new StepSum();
        // One rank has a loss of each of its parts, several one each.
        if (step.Weights.Length == 1)
        {
            var loss = 0.0;
            for (var i = 0; i < step.Losses.Count; i++)
                loss += *next++;
            sum.Add(0, loss, step.Weights[0]);
            return sum.Totals;
        }

        for (var rank = 0; rank < step.Weights.Length; rank++)
            sum.Add(rank, *next++, step.Weights[rank]);
        return sum.Totals;
    }

    // Makes the sums of this rank's gradients their means, clipped; returns the norm of all where it was wanted.
    private Tensor? Scale(double scale)
    {
        var gradients = _tensors.OwnGradients;
        using Scalar factor = scale;
        if (_clipNorm == 0)
        {
            gradients.mul_(factor);
            return null;
        }

        using Scalar least = GradientClip.Epsilon, most = _clipNorm, whole = 1;
        var norm = Norm().mul_(factor);
        // As long as the norm is not finite nothing good comes of it, and the loss of this step is told as NaN.
        gradients.mul_(norm.add(least).reciprocal_().mul_(most).clamp_max_(whole).mul_(factor));
        return Keep(norm);
    }

    // The same bits on all ranks: of the whole where each has it, else of the sum of the parts' squares, which is one more number to sum there.
    private Tensor Norm()
    {
        if (!_isScattered)
            return _tensors.Gradients.norm();
        var squares = _tensors.OwnGradients.norm();
        squares.mul_(squares);
        _exchange!.AllReduce((nint)TorchMemory.Data(squares), 1);
        _exchange.Join();
        return squares.sqrt_();
    }

    // Without its graph, and beyond the step's scope.
    private static Tensor Keep(Tensor number) => number.detach().DetachFromDisposeScope();

    private void Forget()
    {
        foreach (var number in _steps.SelectMany(s => s.Numbers))
            number.Dispose();
        _steps.Clear();
    }

    private void ForgetLosses()
    {
        _losses.ForEach(l => l.Dispose());
        _losses.Clear();
    }

    /// <param name="Losses">On the device: of this rank's parts, or one tensor with those of all ranks.</param>
    /// <param name="Weights">Of each rank's part of the global batch.</param>
    /// <param name="Norm">Of the gradient, where it is clipped.</param>
    private sealed record QueuedStep(List<Tensor> Losses, double[] Weights, Tensor? Norm)
    {
        public IEnumerable<Tensor> Numbers => Norm is null ? Losses : [.. Losses, Norm];
    }
}
