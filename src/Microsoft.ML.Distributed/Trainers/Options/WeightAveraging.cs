namespace Microsoft.ML.Distributed;

/// <summary>
/// An exponential moving average of the weights over the steps (Polyak and Juditsky 1992; in this form, Tarvainen and Valpola,
/// arXiv:1703.01780): it is validated and becomes the model, which is often better than the last weights, and changes less from one
/// epoch to the next.
/// </summary>
/// <remarks>It costs memory, as much as the weights take, and a few percent of a step at most. The training loss stays that of the weights themselves.</remarks>
public sealed record WeightAveraging
{
    /// <summary>What the average keeps of itself in a step, above 0 and at most 0.9999999: of 0.999 it is over about the last thousand steps. Early on, over the last tenth of the steps.</summary>
    /// <value>0.999</value>
    public double Decay { get; init; } = 0.999;
}
