using MLDistributed.Protocol;
using MLDistributed.Training.Metrics;
using MLDistributed.Training.Models;
using Training.Tests.Loop;
using static TorchSharp.torch;

namespace Training.Tests.Ranking;

/// <summary>Loss and metrics beside numbers worked out by hand, and beside their definitions.</summary>
[TestClass]
public sealed class LambdaRankTests
{
    [TestMethod]
    public void Sum_TwoRowsInTheWrongOrder_IsThatOfTheirPair()
    {
        // To change places would change the gain by 1 - 1/log2(3), of a best gain of 1.
        var weight = 1 - 1 / Math.Log2(3);
        var slopes = new float[2];

        var loss = LambdaRank.Sum(0, [1, 2], [-1, 0], slopes);

        Assert.AreEqual(weight * Math.Log(1 + Math.E), loss, 1e-6);
        Assert.AreEqual(-weight * Math.E / (1 + Math.E), slopes[0], 1e-6);
        Assert.AreEqual(-slopes[0], slopes[1]);
    }

    [TestMethod, DataRow(0), DataRow(1), DataRow(3), DataRow(100)]
    public void Sum_RandomGroups_IsTheDefinitionAndItsSlopesAreDerivatives(int truncation)
    {
        const float step = 1 / 64f;
        var random = new Random(7);
        foreach (var size in (int[])[1, 2, 5, 20])
        {
            // Far enough from each other that no step changes the order.
            var scores = Enumerable.Range(0, size).Select(i => i / 8f - 1).OrderBy(_ => random.Next()).ToArray();
            var labels = Enumerable.Range(0, size).Select(i => RankingLabel.Of(random.Next(5), i == 0)).ToArray();
            var slopes = new float[size];

            var loss = LambdaRank.Sum(truncation, scores, labels, slopes);

            Assert.AreEqual(Expected(truncation, scores, labels), loss, 1e-5);
            for (var row = 0; row < size; row++)
                Assert.AreEqual((At(row, step) - At(row, -step)) / (2 * step), slopes[row], 1e-3, $"row {row} of {size}");

            double At(int row, float by) => Expected(truncation, [.. scores.Select((s, i) => i == row ? s + by : s)], labels);
        }
    }

    [TestMethod]
    public void Sum_SeveralGroups_IsTheSumOfTheirs()
    {
        float[] scores = [0.5f, -1, 2, 0.25f, 3, 1], labels = [-2, 0, 1, -0f, 1, -4];
        var (all, parts) = (new float[6], new float[6]);

        var loss = LambdaRank.Sum(0, scores, labels, all);

        Assert.AreEqual(LambdaRank.Sum(0, scores.AsSpan(0, 3), labels.AsSpan(0, 3), parts.AsSpan(0, 3)) + LambdaRank.Sum(0, scores.AsSpan(3, 2), labels.AsSpan(3, 2), parts.AsSpan(3, 2)), loss, 1e-9);
        CollectionAssert.AreEqual(parts, all);
    }

    [TestMethod, DataRow(0f), DataRow(3f)]
    public void Sum_GroupOfOneRelevance_IsNothing(float relevance)
    {
        var slopes = new float[3];

        Assert.AreEqual(0, LambdaRank.Sum(0, [1, 2, 3], [-relevance, relevance, relevance], slopes));
        CollectionAssert.AreEqual(new float[3], slopes);
    }

    [TestMethod]
    public void Sum_AsATensor_HasTheSameValueAndGradient()
    {
        using var scope = NewDisposeScope();
        var spec = Cluster.Spec(s => (s.Task, s.Module.Mlp.OutputSize, s.Loss) = (MlTask.Ranking, 1, new LossSpec { LambdaRank = new LambdaRankLossSpec { TruncationLevel = 2 } }));
        float[] scores = [0.5f, -1, 2, 0.25f, 3], labels = [-2, 0, 1, -0f, 1];
        var slopes = new float[5];
        var expected = LambdaRank.Sum(2, scores, labels, slopes);
        var outputs = tensor(scores, requires_grad: true);

        var loss = Losses.Sum(spec, outputs.view(-1, 1), tensor(labels), null);
        loss.backward();

        Assert.AreEqual(expected, Losses.Number(loss), 1e-6);
        CollectionAssert.AreEqual(slopes, outputs.grad!.data<float>().ToArray());
    }

    [TestMethod, DataRow(float.NaN), DataRow(float.PositiveInfinity)]
    public void Sum_ScoreThatIsNotFinite_IsNoNumber(float score)
    {
        using var scope = NewDisposeScope();
        var spec = Cluster.Spec(s => (s.Task, s.Module.Mlp.OutputSize) = (MlTask.Ranking, 1));

        Assert.IsFalse(double.IsFinite(Losses.Number(Losses.Sum(spec, tensor([score, 1f]).view(-1, 1), tensor([-0f, 1f]), null))));
    }

    [TestMethod]
    public void Metrics_GroupsWorkedOutByHand_AreTheirMeans()
    {
        // By score: relevance 1, 0, 2; best: 2, 1, 0. Gains 0, 3, 7.
        float[] first = [-0f, 2, 1], scores = [2, 1, 3];
        var (second, third) = (1 / Math.Log2(3), 0.5);
        var at1 = 3.0 / 7;
        var at3 = (3 + 7 * third) / (7 + 3 * second);
        // The second has nothing that is relevant and counts as 0; of the third's equal scores the less relevant come first.
        var metrics = Metrics([.. scores, 1, 2, 0, 0], [.. first, -0f, 0, -1, 0]);

        Assert.AreEqual((at1 + 0 + 0) / 3, metrics[0], 1e-6);
        Assert.AreEqual((at3 + 0 + second) / 3, metrics[1], 1e-6);
        Assert.AreEqual(metrics[1], metrics[2]);
        Assert.AreEqual(metrics[1], metrics[3]);
    }

    [TestMethod]
    public void Metrics_LongGroup_LookAtItsFirstRowsAlone()
    {
        // One relevant row of 20, in the fourth place.
        var metrics = Metrics([.. Enumerable.Range(0, 20).Select(i => (float)-i)], [.. Enumerable.Range(0, 20).Select(i => RankingLabel.Of(i == 3 ? 1 : 0, i == 0))]);

        CollectionAssert.AreEqual(new[] { 0, 0, Math.Round(1 / Math.Log2(5), 9), Math.Round(1 / Math.Log2(5), 9) }, metrics);
    }

    private static double[] Metrics(float[] scores, float[] labels)
    {
        using var scope = NewDisposeScope();
        var metrics = MetricSums.Of(Cluster.Spec(s => s.Task = MlTask.Ranking));
        var sums = new double[metrics.Count];
        metrics.Add(tensor(scores).view(-1, 1), tensor(labels), null, sums);
        return metrics.Values(sums);
    }

    // One group, in double precision, from the definition.
    private static double Expected(int truncation, float[] scores, float[] labels)
    {
        var level = truncation == 0 ? scores.Length : truncation;
        var relevances = Array.ConvertAll(labels, l => (double)Math.Abs(l));
        var best = relevances.OrderByDescending(r => r).Take(level).Select((r, place) => Gain(r) / Math.Log2(place + 2)).Sum();
        var places = new int[scores.Length];
        foreach (var (place, row) in Enumerable.Range(0, scores.Length).OrderByDescending(row => scores[row]).Index())
            places[row] = place;
        var pairs = from i in Enumerable.Range(0, scores.Length)
                    from j in Enumerable.Range(0, scores.Length)
                    where relevances[i] > relevances[j] && Math.Min(places[i], places[j]) < level
                    select (Gain(relevances[i]) - Gain(relevances[j])) * Math.Abs(1 / Math.Log2(places[i] + 2) - 1 / Math.Log2(places[j] + 2)) / best * Math.Log(1 + Math.Exp(scores[j] - scores[i]));
        return best == 0 ? 0 : pairs.Sum();

        static double Gain(double relevance) => Math.Pow(2, relevance) - 1;
    }
}
