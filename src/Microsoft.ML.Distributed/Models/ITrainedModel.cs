namespace Microsoft.ML.Distributed;

/// <summary>A model of ours, whatever it predicts.</summary>
internal interface ITrainedModel
{
    /// <summary>What was trained.</summary>
    TrainedNetwork Network { get; }

    /// <summary>The transformer that Fit made around it, which knows its columns; null: it was read from a file.</summary>
    ISingleFeaturePredictionTransformer<object>? Transformer { get; set; }
}
