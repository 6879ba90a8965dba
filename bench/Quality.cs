using System.Globalization;
using Microsoft.ML;
using Microsoft.ML.Distributed;
using Microsoft.ML.Trainers.FastTree;
using Microsoft.ML.Trainers.LightGbm;

namespace MLDistributed.Bench;

/// <summary>Held-out quality from default options, beside ML.NET's own trainers from theirs, on the same five splits.</summary>
internal static class Quality
{
    private static readonly int[] Seeds = [1, 2, 3, 4, 5];

    public static int Run()
    {
        Compare("digits, micro accuracy", DataSets.Digits,
            (ml, split, trainer) => ml.MulticlassClassification.Evaluate(trainer.Fit(split.TrainSet).Transform(split.TestSet)).MicroAccuracy,
            ml => ml.MulticlassClassification.Trainers.DistributedNeuralNetwork(),
            ("linear (SDCA)", ml => Normalized(ml, ml.MulticlassClassification.Trainers.SdcaMaximumEntropy())),
            ("linear (L-BFGS)", ml => Normalized(ml, ml.MulticlassClassification.Trainers.LbfgsMaximumEntropy())),
            ("LightGBM", ml => ml.MulticlassClassification.Trainers.LightGbm()));

        Compare("breast cancer, area under the ROC curve", DataSets.BreastCancer,
            (ml, split, trainer) => ml.BinaryClassification.Evaluate(trainer.Fit(split.TrainSet).Transform(split.TestSet)).AreaUnderRocCurve,
            ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers);
        Compare("breast cancer, accuracy", DataSets.BreastCancer,
            (ml, split, trainer) => ml.BinaryClassification.Evaluate(trainer.Fit(split.TrainSet).Transform(split.TestSet)).Accuracy,
            ml => ml.BinaryClassification.Trainers.DistributedNeuralNetwork(), BinaryPeers);

        Compare("diabetes, R squared", DataSets.Diabetes,
            (ml, split, trainer) => ml.Regression.Evaluate(trainer.Fit(split.TrainSet).Transform(split.TestSet)).RSquared,
            ml => ml.Regression.Trainers.DistributedNeuralNetwork(),
            ("linear (SDCA)", ml => Normalized(ml, ml.Regression.Trainers.Sdca())),
            ("linear (L-BFGS Poisson)", ml => Normalized(ml, ml.Regression.Trainers.LbfgsPoissonRegression())),
            ("FastTree", ml => ml.Regression.Trainers.FastTree()),
            ("LightGBM", ml => ml.Regression.Trainers.LightGbm()));
        return 0;
    }

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

    private static void Compare(
        string title, Func<MLContext, IDataView> load, Func<MLContext, DataOperationsCatalog.TrainTestData, IEstimator<ITransformer>, double> score,
        Func<MLContext, IEstimator<ITransformer>> ours, params (string Name, Func<MLContext, IEstimator<ITransformer>> Make)[] peers)
    {
        Console.WriteLine($"\n| {title} | mean | sd | seeds {string.Join(", ", Seeds)} |\n| --- | --- | --- | --- |");
        foreach (var (name, make) in peers.Prepend(("**DistributedNeuralNetwork**", ours)))
        {
            var scores = Array.ConvertAll(Seeds, seed =>
            {
                var ml = new MLContext(seed);
                return score(ml, ml.Data.TrainTestSplit(load(ml), testFraction: 0.2, seed: seed), make(ml));
            });
            var mean = scores.Average();
            var sd = Math.Sqrt(scores.Sum(s => (s - mean) * (s - mean)) / (scores.Length - 1));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"| {name} | {mean:F4} | {sd:F4} | {string.Join(", ", scores.Select(s => s.ToString("F4", CultureInfo.InvariantCulture)))} |"));
        }
    }
}
