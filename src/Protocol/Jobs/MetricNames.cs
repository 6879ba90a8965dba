using System.Collections.ObjectModel;

namespace MLDistributed.Protocol;

/// <summary>The metrics on validation rows, by ML.NET's names. A message carries their values alone, in this order.</summary>
public static class MetricNames
{
    private static readonly string[] s_multiclass = ["MicroAccuracy", "MacroAccuracy"];
    private static readonly string[] s_binary = ["Accuracy", "AreaUnderRocCurve", "F1Score"];
    private static readonly string[] s_regression = ["RSquared", "MeanAbsoluteError", "RootMeanSquaredError"];

    /// <summary>Those of a task.</summary>
    public static IReadOnlyList<string> Of(MlTask task) => task switch
    {
        MlTask.Multiclass => s_multiclass,
        MlTask.Binary => s_binary,
        MlTask.Regression => s_regression,
        _ => [],
    };

    /// <summary>Those of an epoch, with their values.</summary>
    public static IReadOnlyDictionary<string, double> With(EpochEnded epoch) =>
        epoch.ValidationMetrics.Count == 0
            ? ReadOnlyDictionary<string, double>.Empty
            : Of(epoch.Task).Zip(epoch.ValidationMetrics).ToDictionary(m => m.First, m => m.Second, StringComparer.Ordinal);
}
