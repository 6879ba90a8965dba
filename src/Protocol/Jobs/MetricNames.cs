using System.Collections.ObjectModel;

namespace MLDistributed.Protocol;

/// <summary>The metrics of a task, by ML.NET's names. A message carries their values alone, in this order.</summary>
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

    /// <summary>Those of an epoch's validation rows, with their values.</summary>
    public static IReadOnlyDictionary<string, double> OfValidation(EpochEnded epoch) => With(epoch.Task, epoch.ValidationMetrics);

    /// <summary>Those of an epoch's training rows, with their values.</summary>
    public static IReadOnlyDictionary<string, double> OfTraining(EpochEnded epoch) => With(epoch.Task, epoch.TrainingMetrics);

    private static IReadOnlyDictionary<string, double> With(MlTask task, IReadOnlyCollection<double> values) => values.Count == 0
        ? ReadOnlyDictionary<string, double>.Empty
        : Of(task).Zip(values).ToDictionary(m => m.First, m => m.Second, StringComparer.Ordinal);
}
