using System.Collections.ObjectModel;

namespace MLDistributed.Protocol;

/// <summary>The metrics of a task, by ML.NET's names. A message carries their values alone, in this order; behind them those of the module's own.</summary>
public static class MetricNames
{
    /// <summary>How many of a group's rows each metric of a ranking looks at, from the highest score on; the last is the one that the best epoch has most of.</summary>
    public static IReadOnlyList<int> RankingLevels { get; } = [1, 3, 5, 10];

    /// <summary>The most metrics of a module's own.</summary>
    public const int MaxOwn = 24;

    /// <summary>The most characters of their names.</summary>
    public const int MaxOwnLength = 64;

    /// <summary>What their names may hold beside letters, digits and spaces.</summary>
    public const string Punctuation = "_-.@/";

    private static readonly string[] s_multiclass = ["MicroAccuracy", "MacroAccuracy"];
    private static readonly string[] s_binary = ["Accuracy", "AreaUnderRocCurve", "F1Score"];
    private static readonly string[] s_tagging = ["Accuracy", "F1Score"];
    private static readonly string[] s_regression = ["RSquared", "MeanAbsoluteError", "RootMeanSquaredError"];

    private static readonly string[] s_ranking = [.. RankingLevels.Select(level => $"NDCG@{level}")];

    /// <summary>Those of a task.</summary>
    public static IReadOnlyList<string> Of(MlTask task) => task switch
    {
        MlTask.Multiclass => s_multiclass,
        MlTask.Binary => s_binary,
        MlTask.Regression => s_regression,
        MlTask.Tagging => s_tagging,
        MlTask.Ranking => s_ranking,
        _ => [],
    };

    /// <summary>Whether a text can be the name of a module's own metric.</summary>
    public static bool IsOwn(string name) =>
        name is { Length: > 0 and <= MaxOwnLength } && char.IsAsciiLetter(name[0]) && name[^1] != ' ' && name.All(c => char.IsAsciiLetterOrDigit(c) || c == ' ' || Punctuation.Contains(c, StringComparison.Ordinal));

    /// <summary>Those of an epoch's validation rows, with their values.</summary>
    public static IReadOnlyDictionary<string, double> OfValidation(EpochEnded epoch) => With(epoch, epoch.ValidationMetrics);

    /// <summary>Those of an epoch's training rows, with their values.</summary>
    public static IReadOnlyDictionary<string, double> OfTraining(EpochEnded epoch) => With(epoch, epoch.TrainingMetrics);

    // A worker may say anything: names that no module has are left out, and of the same ones the last is taken.
    private static IReadOnlyDictionary<string, double> With(EpochEnded epoch, IReadOnlyCollection<double> values)
    {
        if (values.Count == 0)
            return ReadOnlyDictionary<string, double>.Empty;
        var named = new Dictionary<string, double>(StringComparer.Ordinal);
        var names = Of(epoch.Task);
        foreach (var (name, value) in names.Concat(epoch.OwnMetrics).Zip(values))
            if (named.Count < names.Count || IsOwn(name))
                named[name] = value;
        return named;
    }
}
