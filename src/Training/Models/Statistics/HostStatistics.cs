using MLDistributed.Collectives;
using MLDistributed.Training.Native;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Where ranks meet on the host.</summary>
internal sealed unsafe class HostStatistics(Memory<float> runningMean, Memory<float> runningVariance, Device device, ICollective ranks) : LayerStatistics(runningMean.Length)
{
    // How many, means, squared deviations.
    private readonly double[] _mine = new double[1 + (2 * runningMean.Length)];
    private readonly double[] _all = new double[(1 + (2 * runningMean.Length)) * ranks.WorldSize];

    protected override BatchMoments Join(Tensor? mean, Tensor? squares, long count, double momentum)
    {
        _mine.AsSpan().Clear();
        if (mean is not null)
        {
            _mine[0] = count;
            Read(mean, _mine.AsSpan(1, Channels));
            Read(squares!, _mine.AsSpan(1 + Channels));
        }

        ranks.AllGather(_mine, _all);
        var (allMean, allVariance) = (new float[Channels], new float[Channels]);
        var all = Combine(allMean, allVariance, momentum);
        return new Moments(tensor(allMean, device: device), tensor(allVariance, device: device), all, ranks);
    }

    private double Combine(float[] mean, float[] variance, double momentum)
    {
        var size = _mine.Length;
        var count = 0.0;
        for (var rank = 0; rank < ranks.WorldSize; rank++)
            count += _all[rank * size];
        for (var i = 0; i < Channels; i++)
        {
            var (sum, squares) = (0.0, 0.0);
            for (var rank = 0; rank < ranks.WorldSize; rank++)
                sum += _all[(rank * size) + 1 + i] * _all[rank * size];
            var center = sum / count;
            for (var rank = 0; rank < ranks.WorldSize; rank++)
            {
                var offset = _all[(rank * size) + 1 + i] - center;
                squares += _all[(rank * size) + 1 + Channels + i] + (offset * offset * _all[rank * size]);
            }

            (mean[i], variance[i]) = ((float)center, (float)(squares / count));
            Move(ref runningMean.Span[i], center, momentum);
            Move(ref runningVariance.Span[i], squares / Math.Max(count - 1, 1), momentum);
        }

        return count;
    }

    private static void Move(ref float running, double to, double momentum) => running += (float)(momentum * (to - running));

    private static void Read(Tensor values, Span<double> into)
    {
        var local = values.cpu().contiguous();
        var from = new ReadOnlySpan<float>(TorchMemory.Data(local), into.Length);
        for (var i = 0; i < into.Length; i++)
            into[i] = from[i];
        GC.KeepAlive(local);
    }

    private sealed record Moments(Tensor Mean, Tensor Variance, double All, ICollective Ranks) : BatchMoments(Mean, Variance)
    {
        public override (Tensor First, Tensor Second) Means(Tensor? first, Tensor? second)
        {
            var channels = (int)Mean.numel();
            var sums = new double[2 * channels];
            if (first is not null)
            {
                Read(first, sums.AsSpan(0, channels));
                Read(second!, sums.AsSpan(channels));
            }

            Ranks.AllReduce(sums);
            var means = tensor(Array.ConvertAll(sums, sum => (float)(sum / All)), device: Mean.device);
            return (means.narrow(0, 0, channels), means.narrow(0, channels, channels));
        }
    }
}
