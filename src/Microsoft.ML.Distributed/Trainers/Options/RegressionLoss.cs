using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a regression's errors cost.</summary>
public sealed record RegressionLoss
{
    private RegressionLoss(LossSpec? spec) => Spec = spec;

    /// <summary>The squared error: predicts the mean.</summary>
    public static RegressionLoss Squared { get; } = new(spec: null);

    private LossSpec? Spec { get; }

    /// <summary>Huber's: half the squared error up to <paramref name="delta"/>, linear beyond, so that a few wild labels do not decide (Huber 1964).</summary>
    /// <param name="delta">In standard deviations of the training labels, above 0.</param>
    public static RegressionLoss Huber(double delta = 1) => new(new LossSpec { Huber = new HuberLossSpec { Delta = delta } });

    /// <summary>The quantile's (pinball) loss: predicts the value below which that part of the labels lies (Koenker and Bassett 1978). Two models make an interval.</summary>
    /// <param name="level">Between 0 and 1; 0.5 predicts the median, by the absolute error.</param>
    public static RegressionLoss Quantile(double level) => new(new LossSpec { Quantile = new QuantileLossSpec { Level = level } });

    internal LossSpec? ToSpec() => Spec?.Clone();
}
