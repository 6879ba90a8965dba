using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLDistributed.Bench;

/// <summary>The three small real data sets, as "Features" and "Label".</summary>
internal static class DataSets
{
    public static IDataView Digits(MLContext ml) => ml.Transforms.Conversion
        .MapValueToKey("Label", "Number", keyOrdinality: Microsoft.ML.Transforms.ValueToKeyMappingEstimator.KeyOrdinality.ByValue)
        .FitTransform(Load(ml, "digits.csv", features: 64, "Number", DataKind.Single, header: false));

    public static IDataView BreastCancer(MLContext ml) => Load(ml, "breast_cancer.csv", features: 30, "Label", DataKind.Boolean, header: true);

    public static IDataView Diabetes(MLContext ml) => Load(ml, "diabetes.csv", features: 10, "Label", DataKind.Single, header: true);

    private static IDataView Load(MLContext ml, string file, int features, string label, DataKind labelKind, bool header) =>
        ml.Data.Cache(ml.Data.LoadFromTextFile(
            Path.Combine(AppContext.BaseDirectory, "data", file),
            [new TextLoader.Column("Features", DataKind.Single, 0, features - 1), new TextLoader.Column(label, labelKind, features)],
            separatorChar: ',', hasHeader: header));

    private static IDataView FitTransform(this IEstimator<ITransformer> estimator, IDataView data) => estimator.Fit(data).Transform(data);
}
