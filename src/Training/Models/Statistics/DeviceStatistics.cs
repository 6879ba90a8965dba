using MLDistributed.Collectives;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Where ranks sum from device to device: all of it is queued there, and the host waits for nothing.</summary>
internal sealed unsafe class DeviceStatistics(Memory<float> runningMean, Memory<float> runningVariance, Device device, ICollective ranks, DeviceExchange? exchange) : LayerStatistics(runningMean.Length)
{
    private Tensor? _runningMean;
    private Tensor? _runningVariance;
    private bool _hasMoved;

    // From the first step on: what a job goes on with is on the host by then.
    private Tensor RunningMean => _runningMean ??= tensor(runningMean.ToArray(), device: device).DetachFromDisposeScope();

    private Tensor RunningVariance => _runningVariance ??= tensor(runningVariance.ToArray(), device: device).DetachFromDisposeScope();

    // This rank's rows are the batch. Of one number there is no deviation, and libtorch refuses it.
    public override Tensor? TryNormalize(Tensor input, Tensor? weight, Tensor? bias, double momentum, double epsilon)
    {
        if (ranks.WorldSize > 1 || input.numel() <= Channels)
            return null;
        _hasMoved = true;
        return nn.functional.batch_norm(input, RunningMean, RunningVariance, weight, bias, training: true, momentum, epsilon);
    }

    protected override BatchMoments Join(Tensor? mean, Tensor? squares, long count, double momentum)
    {
        using var scope = NewDisposeScope();
        var all = zeros([ranks.WorldSize, (2 * Channels) + 1], device: device);
        if (mean is not null)
        {
            var mine = all.select(0, ranks.Rank);
            mine.narrow(0, 0, Channels).copy_(mean.view(Channels));
            mine.narrow(0, Channels, Channels).copy_(squares!.view(Channels));
            using Scalar numbers = count;
            mine.narrow(0, 2 * Channels, 1).fill_(numbers);
        }

        // Each rank's are in a place of their own: the sum brings them together, and rounds nothing.
        Sum(all, exchange);
        var wide = all.to(ScalarType.Float64);
        var (means, deviations, counts) = (wide.narrow(1, 0, Channels), wide.narrow(1, Channels, Channels), wide.narrow(1, 2 * Channels, 1));
        var total = counts.sum();
        var center = means.mul(counts).sum([0]).div(total);
        var sum = deviations.add(means.sub(center).square().mul(counts)).sum([0]);
        Move(RunningMean, center, momentum);
        using Scalar one = 1;
        Move(RunningVariance, sum.div(total.sub(one).clamp_min(one)), momentum);
        _hasMoved = true;
        var moments = new Moments(center.to(ScalarType.Float32), sum.div(total).to(ScalarType.Float32), total, exchange);
        foreach (var kept in new[] { moments.Mean, moments.Variance, total })
            kept.MoveToOuterDisposeScope();
        return moments;
    }

    // Device sync here.
    public override void ToHost()
    {
        if (!_hasMoved)
            return;
        _hasMoved = false;
        using var scope = NewDisposeScope();
        Read(_runningMean!, runningMean.Span);
        Read(_runningVariance!, runningVariance.Span);
    }

    public override void Dispose()
    {
        _runningMean?.Dispose();
        _runningVariance?.Dispose();
    }

    private static void Sum(Tensor values, DeviceExchange? exchange)
    {
        if (exchange is null)
            return;
        exchange.AllReduce((nint)TorchMemory.Data(values), values.numel());
        exchange.Join();
    }

    private static void Move(Tensor running, Tensor to, double momentum)
    {
        using Scalar factor = momentum;
        running.add_(to.sub(running).mul(factor).to(ScalarType.Float32));
    }

    private static void Read(Tensor values, Span<float> into)
    {
        var local = values.cpu();
        new ReadOnlySpan<float>(TorchMemory.Data(local), into.Length).CopyTo(into);
        GC.KeepAlive(local);
    }

    private sealed record Moments(Tensor Mean, Tensor Variance, Tensor Total, DeviceExchange? Exchange) : BatchMoments(Mean, Variance)
    {
        public override Tensor? Count => Total;

        public override (Tensor First, Tensor Second) Means(Tensor? first, Tensor? second)
        {
            var channels = Mean.numel();
            var sums = first is null ? zeros(2 * channels, device: Mean.device) : cat([first.view(channels), second!.view(channels)]);
            Sum(sums, Exchange);
            var means = sums.div(Total).to(ScalarType.Float32);
            return (means.narrow(0, 0, channels), means.narrow(0, channels, channels));
        }
    }
}
