using static TorchSharp.torch;

namespace MLDistributed.Training.Optimization;

/// <summary>What parts of a global batch bring to a step, beside the gradients of their loss sum in flat memory.</summary>
internal readonly record struct StepPart(double LossSum, double WeightSum);

/// <summary>A step of all ranks together.</summary>
/// <param name="Loss">The mean over the global batch; NaN when that weighs 0.</param>
/// <param name="WeightSum">Of the global batch.</param>
/// <param name="FirstNonFiniteRank">The first rank whose part was NaN or infinite; -1: none. Then nothing was updated.</param>
internal readonly record struct StepTotals(double Loss, double WeightSum, int FirstNonFiniteRank)
{
    /// <summary>What makes the sum of gradients their mean.</summary>
    public double GradientScale => WeightSum > 0 ? 1 / WeightSum : 0;
}

/// <summary>Adds up the parts of a step, in the order in which they come.</summary>
internal struct StepSum()
{
    private double _loss;
    private double _weight;
    private int _firstNonFiniteRank = -1;

    public readonly StepTotals Totals => new(_loss / _weight, _weight, _firstNonFiniteRank);

    public void Add(int rank, double lossSum, double weightSum)
    {
        if (_firstNonFiniteRank < 0 && !(double.IsFinite(lossSum) && double.IsFinite(weightSum)))
            _firstNonFiniteRank = rank;
        _loss += lossSum;
        _weight += weightSum;
    }
}

/// <summary>Clipping by the gradient's global norm, as torch.nn.utils.clip_grad_norm_.</summary>
internal static class GradientClip
{
    /// <summary>Added to the norm, which may be 0.</summary>
    public const double Epsilon = 1e-6;

    public static double Scale(double maxNorm, double norm) => Math.Min(1, maxNorm / (norm + Epsilon));
}

/// <summary>
/// How ranks join their gradients and update the parameters. Over shared memory one pass does both; over a network an
/// all-reduce or reduce-scatter comes first.
/// </summary>
internal interface IGradientStrategy : IDisposable
{
    /// <summary>Steps that have been taken, those before a resume included.</summary>
    long StepsTaken { get; set; }

    /// <summary>Where a rank's slice is: its part of the update, and of a checkpoint.</summary>
    Collectives.Shard SliceOf(int rank);

    /// <summary>Hears during backward that the flat gradients from a place to the end are final; null: does not ask.</summary>
    Action<long>? GradientsReady { get; }

    /// <summary>Takes what backward of a part has left in flat memory (a GPU's gradients come there before <see cref="Step"/>). Each part of this rank once a step, in order.</summary>
    /// <param name="part">Of the global batch.</param>
    /// <param name="loss">The sum over its rows, one number on the rank's device.</param>
    /// <param name="weightSum">What these weigh together.</param>
    void Add(int part, Tensor loss, double weightSum);

    /// <summary>Joins what all ranks have added, and updates the parameters. Others may still be at theirs: <see cref="AwaitParameters"/> comes before these are read.</summary>
    /// <returns>Null: <see cref="Settle"/> tells. Then a step whose loss is not finite has been made too.</returns>
    StepTotals? Step(double learningRate);

    /// <summary>The totals of the steps that have not told theirs, in order.</summary>
    IReadOnlyList<StepTotals> Settle() => [];

    /// <summary>Once after each <see cref="Step"/> that updated: returns when the parameters of all ranks are updated, and the gradients zero.</summary>
    void AwaitParameters();
}
