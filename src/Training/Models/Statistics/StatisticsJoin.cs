using MLDistributed.Collectives;
using MLDistributed.Training.Devices;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>How layers that need the statistics of the whole batch have them of all ranks.</summary>
/// <param name="Ranks">All of them.</param>
/// <param name="StaysOnDevice">Whether nothing of it goes by the host.</param>
/// <param name="Exchange">Sums over the ranks' devices; null: there is one rank, or none stays on its device.</param>
internal sealed record StatisticsJoin(ICollective Ranks, bool StaysOnDevice = false, DeviceExchange? Exchange = null)
{
    /// <summary>For a layer.</summary>
    /// <param name="runningMean">Where its running means are kept.</param>
    /// <param name="runningVariance">Where its running variances are kept.</param>
    /// <param name="device">Where it computes.</param>
    public LayerStatistics Of(Memory<float> runningMean, Memory<float> runningVariance, Device device) => StaysOnDevice
        ? new DeviceStatistics(runningMean, runningVariance, device, Ranks, Exchange)
        : new HostStatistics(runningMean, runningVariance, device, Ranks);
}

/// <summary>
/// The statistics of a layer's channels over the rows of all ranks, and how they run on (Ioffe and Szegedy 2015). The ranks'
/// means and squared deviations are combined as those of parts, in rank order on each alike (Chan, Golub and LeVeque 1979).
/// </summary>
/// <param name="channels">How many.</param>
internal abstract class LayerStatistics(int channels) : IDisposable
{
    protected int Channels => channels;

    /// <summary>All that the layer does in a step, with what autograd needs, by a kernel of libtorch's; null where there is none for it.</summary>
    public virtual Tensor? TryNormalize(Tensor input, Tensor? weight, Tensor? bias, double momentum, double epsilon) => null;

    /// <summary>Joins the statistics of a step, and moves the running ones. Within no_grad.</summary>
    /// <param name="input">Of this rank.</param>
    /// <param name="axes">All but the channels'.</param>
    /// <param name="hasRows">Whether it counts.</param>
    /// <param name="momentum">How far the running statistics move to those of the step.</param>
    public BatchMoments Join(Tensor input, long[] axes, bool hasRows, double momentum)
    {
        var mean = hasRows ? input.mean(axes, keepdim: true) : null;
        return Join(mean, mean is null ? null : input.sub(mean).square().sum(axes), input.numel() / channels, momentum);
    }

    /// <summary>Joins what the ranks' rows tell.</summary>
    /// <param name="mean">Of this rank's rows, channels; null: it has none.</param>
    /// <param name="squares">Their squared deviations, summed.</param>
    /// <param name="count">Numbers of a channel in this rank's rows.</param>
    /// <param name="momentum">How far the running statistics move to those of the step.</param>
    protected abstract BatchMoments Join(Tensor? mean, Tensor? squares, long count, double momentum);

    /// <summary>Brings the running statistics to where they are kept.</summary>
    public virtual void ToHost()
    {
    }

    public virtual void Dispose()
    {
    }
}

/// <summary>A layer's statistics in one step.</summary>
/// <param name="Mean">Over the rows of all ranks, channels.</param>
/// <param name="Variance">The biased one, channels.</param>
internal abstract record BatchMoments(Tensor Mean, Tensor Variance)
{
    /// <summary>What a step keeps of it beside the two.</summary>
    public virtual Tensor? Count => null;

    /// <summary>Sums over this rank's rows to means over those of all ranks. All ranks call it, in the same order.</summary>
    /// <param name="first">Channels; null: this rank has no rows.</param>
    /// <param name="second">As many.</param>
    public abstract (Tensor First, Tensor Second) Means(Tensor? first, Tensor? second);
}
