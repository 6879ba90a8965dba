using System.Collections.Concurrent;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class RankingTrainerTests : IDisposable
{
    private readonly FakeBackend _backend = new() { Weights = mlp => RandomNetworks.Weights(new Random(5), mlp) };
    private readonly MLContext _ml;

    public RankingTrainerTests() => _ml = new MLContext(seed: 1).UseCluster(_backend);

    public void Dispose() => _backend.Dispose();

    [TestMethod]
    public void Fit_Groups_ReachTheJobAndItsData()
    {
        List<(float, bool)>? labels = null;
        _backend.OnTrain = (_, _) => labels = [.. FakeBackend.Read(_backend.Files.Single()).Select(r => ((float)RankingLabel.Relevance(r.Label), RankingLabel.IsFirst(r.Label)))];

        var model = _ml.Ranking.Trainers.DistributedNeuralNetwork(new DistributedRankingTrainer.Options { RowGroupColumnName = "Group", LabelColumnName = "Relevance", TruncationLevel = 7 }).Fit(Data(Rows()));

        CollectionAssert.AreEqual(Rows().Select(r => (r.Relevance, r.Place == 0)).ToList(), labels);
        var job = _backend.Jobs.Single();
        Assert.AreEqual((MlTask.Ranking, 7, 0.0), (job.Task, job.Loss.LambdaRank.TruncationLevel, job.Data.WeightScale));
        Assert.IsNull(job.Data.Label);
        Assert.IsEmpty(job.Module.Mlp.OutputBias);
        Assert.IsFalse(model.Transform(Data(Rows())).GetColumn<float>("Score").Any(float.IsNaN));
    }

    [TestMethod]
    public void Fit_LabelKeys_AreDegreesFromZero()
    {
        var keyed = _ml.Transforms.Conversion.MapValueToKey("Degree", "Relevance", keyOrdinality: Transforms.ValueToKeyMappingEstimator.KeyOrdinality.ByValue).Fit(Data(Rows())).Transform(Data(Rows()));
        float[]? labels = null;
        _backend.OnTrain = (_, _) => labels = [.. FakeBackend.Read(_backend.Files.Single()).Select(r => (float)RankingLabel.Relevance(r.Label))];

        _ml.Ranking.Trainers.DistributedNeuralNetwork("Degree", rowGroupColumnName: "Group").Fit(keyed);

        CollectionAssert.AreEqual(Rows().Select(r => r.Relevance).ToArray(), labels);
    }

    [TestMethod]
    public void Fit_RowsWithoutLabelOrGroup_AreLeftOutAndTheirGroupsBeginWithTheNext()
    {
        var rows = Rows();
        rows[0].Relevance = float.NaN;
        rows[4].Group = 999;
        var warnings = new ConcurrentQueue<string>();
        _ml.Log += (_, e) => { if (e.Kind == ChannelMessageKind.Warning) warnings.Enqueue(e.RawMessage); };
        var firsts = new List<int>();
        _backend.OnTrain = (_, _) => firsts.AddRange(FakeBackend.Read(_backend.Files.Single()).Index().Where(r => RankingLabel.IsFirst(r.Item.Label)).Select(r => r.Index));

        Trainer().Fit(Data(rows));

        CollectionAssert.AreEqual(new[] { 0, 3 }, firsts[..2]);
        Assert.AreEqual("Training data: 1 have no label in column \"Relevance\", 1 have no group in column \"Group\"; left out. 58 rows remain.", warnings.Single());
    }

    [TestMethod]
    [DataRow(199, 0.0), DataRow(200, 0.1)]
    public void Fit_ManyRows_HoldsOutATenthOfManyGroupsOnly(int groups, double expected)
    {
        Trainer().Fit(Data(Rows(groups, size: 11)));

        Assert.AreEqual(expected, _backend.Jobs.Single().Data.ValidationFraction);
        Assert.AreEqual(expected > 0, _backend.Jobs.Single().EarlyStopping is not null);
    }

    [TestMethod]
    public void Fit_BadRow_SaysWhatIsWrongWithIt()
    {
        (Action<List<Row>> Change, string Message)[] cases =
        [
            (r => r[7].Relevance = -1, "Label column \"Relevance\" is -1 at row 7, expected a degree of relevance, a whole number from 0 to 30"),
            (r => r[7].Relevance = 0.5f, "Label column \"Relevance\" is 0.5 at row 7"),
            (r => r[7].Relevance = 31, "Label column \"Relevance\" is 31 at row 7"),
            (r => r[7].Relevance = float.PositiveInfinity, "Label column \"Relevance\" is ∞ at row 7"),
            (r => r[50].Group = 1, "Group column \"Group\" comes back to group 1 at row 50, expected the rows of each group one behind the other."),
            (r => r.ForEach(x => x.Relevance = 2), "Group column \"Group\" has 12 groups of one relevance each in label column \"Relevance\", expected some with rows of different relevance"),
            (r => r.RemoveAll(x => x.Place > 0), "Group column \"Group\" has 12 groups of one row, or one relevance each"),
            (r => r.ForEach(x => x.Group = 999), "of 60 rows, 60 have no group in column \"Group\""),
            (r => r.AddRange(Rows(1, 10_001).Select(x => new Row { Group = 99, Relevance = x.Relevance, Features = x.Features })), "Group column \"Group\" has more than 10,000 rows of group 99 up to row 10,060"),
        ];
        foreach (var (change, message) in cases)
        {
            var rows = Rows();
            change(rows);
            var error = Assert.ThrowsExactly<InvalidDataException>(() => Trainer().Fit(Data(rows)));
            Assert.Contains(message.Replace("∞", float.PositiveInfinity.ToString(System.Globalization.CultureInfo.CurrentCulture), StringComparison.Ordinal), error.Message);
        }

        Assert.IsEmpty(_backend.Jobs);
        Assert.IsEmpty(_backend.Files);
    }

    [TestMethod]
    public void Fit_BadColumnsOrOptions_SaysAllThatIsWrong()
    {
        (Action<DistributedRankingTrainer.Options> Change, string Message)[] cases =
        [
            (o => o.RowGroupColumnName = "Query", "Group column \"Query\" is not in the data"),
            (o => o.RowGroupColumnName = "Place", "Group column \"Place\" is a Single, expected a key. Map it with ml.Transforms.Conversion.MapValueToKey(\"Place\")."),
            (o => o.RowGroupColumnName = "", "RowGroupColumnName is empty"),
            (o => o.LabelColumnName = "Text", "Label column \"Text\" is a String, expected a key or a Single, degrees of relevance."),
            (o => o.LabelColumnName = "Group", "RowGroupColumnName is \"Group\", the label column"),
            (o => o.ExampleWeightColumnName = "Place", "ExampleWeightColumnName is \"Place\" in ranking, expected null"),
            (o => o.TruncationLevel = -1, "TruncationLevel is -1, expected at least 0."),
            (o => o.TruncationLevel = 10_001, "TruncationLevel is 10001, expected at most 10,000. 0 is all pairs."),
            (o => o.MaxMicroBatchSize = 8, "MaxMicroBatchSize is 8 in ranking, expected 0"),
            (o => o.ValidationSet = _ml.Transforms.Conversion.MapValueToKey("Relevance").Fit(Data(Rows())).Transform(Data(Rows())), "Validation set: label column \"Relevance\" is a Key<UInt32, 0-3>, expected a Single as in the training data."),
            (o => o.StartFrom = _ml.Regression.Trainers.DistributedNeuralNetwork("Place").Fit(Data(Rows())), "StartFrom is a network for regression, expected one for ranking."),
        ];
        foreach (var (change, message) in cases)
        {
            var options = Options();
            var error = Assert.ThrowsExactly<ArgumentException>(() =>
            {
                change(options);
                _ml.Ranking.Trainers.DistributedNeuralNetwork(options).Fit(Data(Rows()));
            });
            Assert.Contains(message, error.Message);
        }
    }

    [TestMethod]
    public void Fit_OneGroupToHoldOut_IsRefused()
    {
        var options = Options();
        options.ValidationFraction = 0.5;

        var error = Assert.ThrowsExactly<InvalidDataException>(() => _ml.Ranking.Trainers.DistributedNeuralNetwork(options).Fit(Data(Rows(1, 20))));

        Assert.Contains("Training data has 1 group that counts, expected at least 2 with ValidationFraction 0.5", error.Message);
    }

    [TestMethod]
    public void CrossValidate_ByGroup_RunsOnTheContextsCluster()
    {
        var folds = _ml.Ranking.CrossValidate(Data(Rows(200, size: 2)), Trainer(), numberOfFolds: 2, labelColumnName: "Relevance", rowGroupColumnName: "Group");

        Assert.HasCount(2, folds);
        Assert.HasCount(2, _backend.Jobs);
        Assert.AreEqual(400, _backend.Jobs.Sum(j => j.Data.RowCount));
    }

    private DistributedRankingTrainer Trainer() => _ml.Ranking.Trainers.DistributedNeuralNetwork(Options());

    private static DistributedRankingTrainer.Options Options() => new() { LabelColumnName = "Relevance", RowGroupColumnName = "Group" };

    private IDataView Data(List<Row> rows) => _ml.Data.LoadFromEnumerable(rows);

    private static List<Row> Rows(int groups = 12, int size = 5)
    {
        var random = new Random(3);
        return [.. Enumerable.Range(0, groups * size).Select(i => new Row { Group = (uint)(i / size), Place = i % size, Relevance = i % size % 4, Features = RandomNetworks.Values(random, 4, 1) })];
    }

    private sealed class Row
    {
        [KeyType(200)] // beyond it a missing one
        public uint Group { get; set; }

        public float Place { get; set; }

        public float Relevance { get; set; }

        public string Text { get; set; } = "";

        [VectorType(4)]
        public float[] Features { get; set; } = [];
    }
}
