namespace Microsoft.ML.Distributed;

/// <summary>What losses a network has while its learning rate grows: the range test of Smith, arXiv:1506.01186.</summary>
/// <param name="Points">A point a step, in their order, with rates that rise; as far as the loss was a number.</param>
public sealed record LearningRateCurve(IReadOnlyList<LearningRatePoint> Points)
{
    // A loss of one batch says little: this is an average over about ten.
    private const double Smoothing = 0.9;
    private const int Averaged = 10; // a lucky first batch is no average

    // Where the loss is least it is about to rise.
    private const double Caution = 10;

    /// <summary>A tenth of the rate at which the loss, averaged over some ten steps, was least: a good peak for <see cref="NeuralNetworkOptions.LearningRate"/>. NaN of no points.</summary>
    public double Suggestion => Points.Count == 0 ? double.NaN : Points[Smoothed().Index().Skip(Math.Min(Averaged, Points.Count / 4)).MinBy(l => l.Item).Index].LearningRate / Caution;

    /// <summary>The losses as averages: of each step and those before it, which count the less the older they are.</summary>
    public IEnumerable<double> Smoothed()
    {
        var (average, weight) = (0.0, 0.0);
        foreach (var point in Points)
        {
            (average, weight) = (average * Smoothing + point.Loss * (1 - Smoothing), weight * Smoothing + 1 - Smoothing);
            yield return average / weight;
        }
    }
}

/// <summary>A step of a range test.</summary>
/// <param name="LearningRate">Its rate.</param>
/// <param name="Loss">The mean loss over its batch, before the update.</param>
public readonly record struct LearningRatePoint(double LearningRate, double Loss);
