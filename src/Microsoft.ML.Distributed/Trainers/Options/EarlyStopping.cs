using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>Ends the training when the validation loss stops falling; the model has the weights of the best epoch.</summary>
public sealed record EarlyStopping
{
    /// <summary>Epochs without a better validation loss before the end, at least 1.</summary>
    /// <value>5</value>
    public int PatienceEpochs { get; init; } = 5;

    /// <summary>By how much the loss must fall to count as better, absolute.</summary>
    /// <value>0</value>
    public double MinImprovement { get; init; }

    internal EarlyStoppingSpec ToSpec() => new() { PatienceEpochs = PatienceEpochs, MinImprovement = MinImprovement };
}
