using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Trainers.FastTree;
using Microsoft.ML.Trainers.LightGbm;

namespace MLDistributed.Bench;

/// <summary>Held-out quality from default options, beside ML.NET's own trainers from theirs, on the same five splits.</summary>
internal static class Quality
{
    private static readonly int[] Seeds = [1, 2, 3, 4, 5];

    private static readonly (string Name, Action Compare)[] Sets =
    [
        ("digits", () => Compare("digits, micro accuracy", DataSets.Digits, MicroAccuracy, ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(), MulticlassPeers)),
        ("iris", () => Compare("iris, micro accuracy", DataSets.Iris, MicroAccuracy, ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(), MulticlassPeers)),
        ("cancer", () => Compare("breast cancer, area under the ROC curve", DataSets.BreastCancer, AreaUnderCurve, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers)),
        ("cancer", () => Compare("breast cancer, accuracy", DataSets.BreastCancer, Accuracy, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers)),
        ("rare", () => Compare("0.2 % positives (made), area under the ROC curve", DataSets.Rare, AreaUnderCurve, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers)),
        ("text", () => Compare("4,000 texts (made), area under the ROC curve", DataSets.Texts, AreaUnderCurve, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), TextPeers)),
        ("reviews", () => CompareBinary("reviews of food that are the best", "{ data(small_fine_foods, package = 'modeldata'); all <- rbind(training_data, testing_data); data.frame(all$score == 'great', review = all$review) }", TextPeers)),
        ("million", () => Compare("a million rows (made), area under the ROC curve", DataSets.Million, AreaUnderCurve, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers)),
        ("diabetes", () => Compare("diabetes, R squared", DataSets.Diabetes, RSquared, ml => ml.Regression.Trainers.DistributedNeuralNetwork(), RegressionPeers)),
        ("text", TextQuality.Compare),
        ("queries", () => Compare("1,000 queries of 20 rows (made), NDCG@10", DataSets.Queries, Ndcg, ml => ml.Ranking.Trainers.DistributedNeuralNetwork(), RankingPeers)),
        ("letters", () => Compare("printed letters", "micro accuracy", "{ data(LetterRecognition, package = 'mlbench'); LetterRecognition }", DataKind.String, MicroAccuracy, ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(), MulticlassPeers)),
        ("spam", () => CompareBinary("mail that is spam", "{ data(spam, package = 'kernlab'); cbind(spam$type == 'spam', spam[names(spam) != 'type']) }")),
        ("income", () => CompareBinary("income from 50,000 on", "{ data(income, package = 'kernlab'); cbind(as.integer(income$INCOME) >= 8, income[names(income) != 'INCOME']) }")),
        ("loans", () => CompareBinary("loans that went bad", "{ data(lending_club, package = 'modeldata'); cbind(lending_club$Class == 'bad', lending_club[names(lending_club) != 'Class']) }")),
        ("churn", () => CompareBinary("customers who left", "{ data(wa_churn, package = 'modeldata'); cbind(wa_churn$churn == 'Yes', wa_churn[names(wa_churn) != 'churn']) }")),
        ("diamonds", () => CompareRegression("diamonds, logarithm of the price", "cbind(log(ggplot2::diamonds$price), ggplot2::diamonds[names(ggplot2::diamonds) != 'price'])")),
        ("houses", () => CompareRegression("houses, logarithm of the price", "{ data(ames, package = 'modeldata'); cbind(log10(ames$Sale_Price), ames[names(ames) != 'Sale_Price']) }")),
        ("bike", () => Compare("bike sharing, R squared", DataSets.Bike, RSquared, ml => ml.Regression.Trainers.DistributedNeuralNetwork(), RegressionPeers)),
    ];

    public static int Run(string[] names)
    {
        foreach (var (_, compare) in Sets.Where(s => names.Length == 0 || names.Contains(s.Name)))
            compare();
        if (names is ["fashion", .. var networks])
            FashionMnist.Run(networks);
        if (names is ["drawings"])
            DrawingQuality.Compare();
        return 0;
    }

    public static double MicroAccuracy(MLContext ml, IDataView scored) => ml.MulticlassClassification.Evaluate(scored).MicroAccuracy;

    private static double AreaUnderCurve(MLContext ml, IDataView scored) => ml.BinaryClassification.EvaluateNonCalibrated(scored).AreaUnderRocCurve;

    private static double Accuracy(MLContext ml, IDataView scored) => ml.BinaryClassification.EvaluateNonCalibrated(scored).Accuracy;

    private static double RSquared(MLContext ml, IDataView scored) => ml.Regression.Evaluate(scored).RSquared;

    private static double Ndcg(MLContext ml, IDataView scored) => ml.Ranking.Evaluate(scored, new RankingEvaluatorOptions { DcgTruncationLevel = 10 }).NormalizedDiscountedCumulativeGains[^1];

    private static (string, Func<MLContext, IEstimator<ITransformer>>)[] RankingPeers =>
    [
        ("FastTree", ml => ml.Ranking.Trainers.FastTree()),
        ("LightGBM", ml => ml.Ranking.Trainers.LightGbm()),
    ];

    private static (string, Func<MLContext, IEstimator<ITransformer>>)[] MulticlassPeers =>
    [
        ("linear (SDCA)", ml => Normalized(ml, ml.MulticlassClassification.Trainers.SdcaMaximumEntropy())),
        ("linear (L-BFGS)", ml => Normalized(ml, ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy())),
        ("LightGBM", ml => ml.MulticlassClassification.Trainers.LightGbm()),
    ];

    private static (string, Func<MLContext, IEstimator<ITransformer>>)[] RegressionPeers =>
    [
        ("linear (SDCA)", ml => Normalized(ml, ml.Regression.Trainers.Sdca())),
        ("linear (L-BFGS Poisson)", ml => Normalized(ml, ml.Regression.Trainers.LbfgsPoissonRegression())),
        ("FastTree", ml => ml.Regression.Trainers.FastTree()),
        ("LightGBM", ml => ml.Regression.Trainers.LightGbm()),
    ];

    // FeaturizeText has normalised them; FastTree takes minutes for so many slots.
    private static (string, Func<MLContext, IEstimator<ITransformer>>)[] TextPeers =>
    [
        ("linear (SDCA)", ml => ml.BinaryClassification.Trainers.SdcaLogisticRegression()),
        ("linear (L-BFGS)", ml => ml.BinaryClassification.Trainers.LbfgsLogisticRegression()),
        ("LightGBM", ml => ml.BinaryClassification.Trainers.LightGbm()),
    ];

    private static (string, Func<MLContext, IEstimator<ITransformer>>)[] BinaryPeers =>
    [
        ("linear (SDCA)", ml => Normalized(ml, ml.BinaryClassification.Trainers.SdcaLogisticRegression())),
        ("linear (L-BFGS)", ml => Normalized(ml, ml.BinaryClassification.Trainers.LbfgsLogisticRegression())),
        ("FastTree", ml => ml.BinaryClassification.Trainers.FastTree()),
        ("LightGBM", ml => ml.BinaryClassification.Trainers.LightGbm()),
    ];

    // The linear trainers do not scale features themselves.
    private static IEstimator<ITransformer> Normalized(MLContext ml, IEstimator<ITransformer> trainer) =>
        ml.Transforms.NormalizeMeanVariance("Features", fixZero: false).Append(trainer);

    // All rows of a query are on one side: a fifth of the queries, another one for each seed. By key ML.NET splits alike for all seeds.
    private static (IDataView Train, IDataView Test) Split(MLContext ml, IDataView data, int seed)
    {
        var split = data.Schema.GetColumnOrNull("GroupId") is { } group
            ? ml.Data.CrossValidationSplit(data, Seeds.Length, group.Name)[seed - 1]
            : ml.Data.TrainTestSplit(data, testFraction: 0.2, seed: seed);
        return (split.TrainSet, split.TestSet);
    }

    private static void CompareBinary(string what, string table, (string, Func<MLContext, IEstimator<ITransformer>>)[]? peers = null) =>
        Compare(what, "area under the ROC curve", table, DataKind.Boolean, AreaUnderCurve, ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), peers ?? BinaryPeers,
            (ml, categories, features) => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(categories, new() { FeatureColumnName = features }));

    private static void CompareRegression(string what, string table) =>
        Compare(what, "R squared", table, DataKind.Single, RSquared, ml => ml.Regression.Trainers.DistributedNeuralNetwork(), RegressionPeers,
            (ml, categories, features) => ml.Regression.Trainers.DistributedNeuralNetwork(categories, new() { FeatureColumnName = features }));

    private static void Compare(
        string what, string measure, string table, DataKind label, Func<MLContext, IDataView, double> score,
        Func<MLContext, IEstimator<ITransformer>> ours, (string Name, Func<MLContext, IEstimator<ITransformer>> Make)[] peers, Func<MLContext, string[], string, IEstimator<ITransformer>>? keyed = null)
    {
        try
        {
            using var rows = new RTable(table, label);
            (string, Func<MLContext, IEstimator<ITransformer>>)[] ofKeys = keyed is null || rows.Categories.Count == 0 ? []
                : [("**the same, categorical columns**", ml => rows.Keyed(ml, (categories, features) => keyed(ml, categories, features)))];
            Compare($"{what} ({rows.Rows:N0} rows, {rows.Kinds}), {measure}", rows.Load, score, Encoded(ours), [.. ofKeys, .. peers.Select(p => (p.Name, Encoded(p.Make)))]);

            Func<MLContext, IEstimator<ITransformer>> Encoded(Func<MLContext, IEstimator<ITransformer>> make) => ml => rows.Encode(ml).AppendCacheCheckpoint(ml).Append(make(ml));
        }
        catch (InvalidDataException e)
        {
            Console.WriteLine($"\n{what}: left out. {e.Message} Install Debian's packages {RTable.Packages}.");
        }
    }

    private static void Compare(
        string title, Func<MLContext, IDataView> load, Func<MLContext, IDataView, double> score,
        Func<MLContext, IEstimator<ITransformer>> ours, params (string Name, Func<MLContext, IEstimator<ITransformer>> Make)[] peers)
    {
        var table = new QualityTable(title, Seeds);
        foreach (var (name, make) in peers.Prepend(("**DistributedNeuralNetwork**", ours)))
            table.Row(name, (ml, seed) => Split(ml, load(ml), seed), make, score);
    }
}
