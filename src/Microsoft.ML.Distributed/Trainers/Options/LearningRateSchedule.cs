using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>How the learning rate changes over the steps.</summary>
public sealed record LearningRateSchedule
{
    private LearningRateSchedule(ScheduleKind kind) => Kind = kind;

    /// <summary>The full rate from the end of the warm-up on.</summary>
    public static LearningRateSchedule Constant { get; } = new(ScheduleKind.Constant);

    /// <summary>From the full rate down to <see cref="FinalFraction"/> of it, along half a cosine (arXiv:1608.03983), after a warm-up over 5 % of the steps.</summary>
    public static LearningRateSchedule Cosine { get; } = new(ScheduleKind.Cosine) { WarmupFraction = 0.05 };

    /// <summary>The part of all steps, in [0, 1), over which the rate rises from 0.</summary>
    /// <value>0 for <see cref="Constant"/>, 0.05 for <see cref="Cosine"/>.</value>
    public double WarmupFraction { get; init; }

    /// <summary>The part of the learning rate, in [0, 1], at which a cosine ends.</summary>
    /// <value>0</value>
    public double FinalFraction { get; init; }

    private ScheduleKind Kind { get; }

    internal ScheduleSpec ToSpec() => new() { Kind = Kind, WarmupFraction = WarmupFraction, FinalFraction = FinalFraction };
}
