using Microsoft.ML;
using Microsoft.ML.Data;

namespace MLDistributed.Bench;

/// <summary>Real data sets, and one that is made, as "Features" and "Label".</summary>
internal static class DataSets
{
    public static IDataView Digits(MLContext ml) => ml.Transforms.Conversion
        .MapValueToKey("Label", "Number", keyOrdinality: Microsoft.ML.Transforms.ValueToKeyMappingEstimator.KeyOrdinality.ByValue)
        .FitTransform(Load(ml, "digits.csv", features: 64, "Number", DataKind.Single, header: false));

    public static IDataView BreastCancer(MLContext ml) => Load(ml, "breast_cancer.csv", features: 30, "Label", DataKind.Boolean, header: true);

    public static IDataView Diabetes(MLContext ml) => Load(ml, "diabetes.csv", features: 10, "Label", DataKind.Single, header: true);

    public static IDataView Iris(MLContext ml) => ml.Transforms.Conversion.MapValueToKey("Label", "Number")
        .FitTransform(ml.Data.LoadFromTextFile(
            InData("iris.tsv"), [new TextLoader.Column("Number", DataKind.Single, 0), new TextLoader.Column("Features", DataKind.Single, 1, 4)], hasHeader: true));

    /// <summary>Season, year, month, hour, holiday, weekday, working day, weather, temperatures, humidity and wind, and how many bicycles were rented in that hour.</summary>
    public static IDataView Bike(MLContext ml) => ml.Data.Cache(ml.Data
        .CreateTextLoader([new TextLoader.Column("Features", DataKind.Single, 2, 13), new TextLoader.Column("Label", DataKind.Single, 16)], separatorChar: ',', hasHeader: true)
        .Load(new MultiFileSource(InData("bike_train.csv"), InData("bike_test.csv"))));

    /// <summary>100,000 rows of 20 normal features, of which 2 in 1,000 are positive: by a line through half of them, and by a product.</summary>
    public static IDataView Rare(MLContext ml)
    {
        var random = new Random(20261127);
        return ml.Data.LoadFromEnumerable(Enumerable.Range(0, 100_000).Select(_ => BinaryRow.DrawRare(random)).ToArray());
    }

    /// <summary>A million rows of 20 features, of which ten tell: by a product, a wave, a step, a distance, one upwards where another is positive, and plainly; and by chance.</summary>
    public static IDataView Million(MLContext ml)
    {
        var random = new Random(20261128);
        return ml.Data.LoadFromEnumerable(Enumerable.Range(0, 1_000_000).Select(_ => BinaryRow.DrawMixed(random)).ToArray());
    }

    /// <summary>4,000 texts of 30 words out of 20,000, most of them rare (Zipf), through FeaturizeText: the two kinds differ in how often they use a tenth of the words.</summary>
    public static IDataView Texts(MLContext ml)
    {
        var random = new Random(20261127);
        var texts = Enumerable.Range(0, 4_000).Select(i => new TextRow { Label = i % 2 == 0, Text = string.Join(' ', Enumerable.Range(0, 30).Select(_ => Word(random, i % 2 == 0))) }).ToArray();
        var data = ml.Data.LoadFromEnumerable(texts);
        return ml.Data.Cache(ml.Transforms.Text.FeaturizeText("Features", nameof(TextRow.Text)).FitTransform(data));

        static string Word(Random random, bool kind)
        {
            while (true)
            {
                var word = (int)Math.Pow(20_000, random.NextDouble());
                // Of the words that tell, the other kind has a third as many.
                if (word % 10 != 3 || word / 10 % 2 == 0 == kind || random.Next(3) == 0)
                    return $"w{word}";
            }
        }
    }

    /// <summary>
    /// 1,000 queries of 5 to 35 rows, whose relevance is 0 to 4: by two features, by a third upwards or downwards as the query says, by a
    /// product, by how far a feature is from 0, and by chance. Two of the 16 features are the query's, eight say nothing.
    /// </summary>
    public static IDataView Queries(MLContext ml)
    {
        var random = new Random(20261128);
        return ml.Data.LoadFromEnumerable(Enumerable.Range(0, 1_000).SelectMany(query => QueryRow.Draw(random, query)).ToArray());
    }

    /// <summary>A row to be ranked.</summary>
    public sealed class QueryRow
    {
        /// <summary>The query's number, from 0.</summary>
        [KeyType(1_000)]
        public uint GroupId { get; init; }

        /// <summary>The query's two, then the row's.</summary>
        [VectorType(16)]
        public required float[] Features { get; init; }

        /// <summary>From 0 to 4.</summary>
        public float Label { get; init; }

        internal static IEnumerable<QueryRow> Draw(Random random, int query)
        {
            float[] ofQuery = [Normal(random), Normal(random)];
            return Enumerable.Range(0, random.Next(5, 36)).Select(_ =>
            {
                var x = Enumerable.Range(0, 14).Select(_ => Normal(random)).ToArray();
                var latent = x[0] + 0.5 * x[1] + (ofQuery[0] > 0 ? 0.7 : -0.7) * x[2] + 0.7 * x[3] * x[4] + 0.5 * Math.Abs(x[5]) + 0.7 * Normal(random);
                return new QueryRow { GroupId = (uint)query, Features = [.. ofQuery, .. x], Label = ((double[])[0.6, 1.2, 1.9, 2.6]).Count(threshold => latent > threshold) };
            });
        }
    }

    private sealed class TextRow
    {
        public bool Label { get; init; }

        public required string Text { get; init; }
    }

    private sealed class BinaryRow
    {
        [VectorType(20)]
        public required float[] Features { get; init; }

        public bool Label { get; init; }

        public static BinaryRow DrawRare(Random random) =>
            Draw(random, x => 1.8 * (x.Take(10).Sum() / Math.Sqrt(10) + 0.7 * x[10] * x[11]) - 8.3);

        public static BinaryRow DrawMixed(Random random) =>
            Draw(random, x => x[0] * x[1] + 1.5 * Math.Sin(3 * x[2]) + (x[3] > 0.5 ? 1.5 : -0.7) + (x[4] * x[4] + x[5] * x[5] < 1.4 ? 1 : -1) + (x[6] > 0 ? x[7] : -x[7]) + 0.5 * (x[8] - x[9]));

        // By the logit of a row's features.
        private static BinaryRow Draw(Random random, Func<float[], double> logit)
        {
            var features = new float[20];
            for (var i = 0; i < features.Length; i++)
                features[i] = Normal(random);
            return new BinaryRow { Features = features, Label = random.NextDouble() < 1 / (1 + Math.Exp(-logit(features))) };
        }
    }

    // Box and Muller 1958.
    private static float Normal(Random random) => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

    private static string InData(string file) => Path.Combine(AppContext.BaseDirectory, "data", file);

    private static IDataView Load(MLContext ml, string file, int features, string label, DataKind labelKind, bool header) =>
        ml.Data.Cache(ml.Data.LoadFromTextFile(
            InData(file),
            [new TextLoader.Column("Features", DataKind.Single, 0, features - 1), new TextLoader.Column(label, labelKind, features)],
            separatorChar: ',', hasHeader: header));

    private static IDataView FitTransform(this IEstimator<ITransformer> estimator, IDataView data) => estimator.Fit(data).Transform(data);
}
