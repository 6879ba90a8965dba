using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class LabelStatisticsTests
{
    [TestMethod]
    public void ToOutputBias_RarePositives_IsTheLogarithmOfTheirOdds()
    {
        var labels = Add(MlTask.Binary, classCount: 2, [998, 2]);

        Assert.AreEqual(Math.Log(2.5 / 998.5), labels.ToOutputBias().Single(), 1e-5);
    }

    [TestMethod]
    public void ToOutputBias_EqualClasses_Is0()
    {
        CollectionAssert.AreEqual(new[] { 0f, 0f, 0f }, Add(MlTask.Multiclass, classCount: 3, [7, 7, 7]).ToOutputBias().ToArray());
    }

    [TestMethod]
    public void ToOutputBias_AClassWithoutRows_IsFiniteAndTheLeast()
    {
        var bias = Add(MlTask.Multiclass, classCount: 3, [50, 0, 10]).ToOutputBias();

        Assert.IsTrue(bias.All(float.IsFinite));
        Assert.IsTrue(bias[1] < bias[2] && bias[2] < bias[0], string.Join(", ", bias));
        Assert.AreEqual(0, bias.Sum(), 1e-5);
    }

    [TestMethod]
    public void ToOutputBias_WeightsThatBalance_AreWhatCounts()
    {
        var labels = new LabelStatistics(MlTask.Binary, "Label", 2);
        for (var row = 0; row < 100; row++)
            labels.Add(row < 90 ? 0 : 1, weight: row < 90 ? 1e-6 : 9e-6);

        Assert.AreEqual(0, labels.ToOutputBias().Single(), 1e-5);
    }

    private static LabelStatistics Add(MlTask task, int classCount, int[] rows)
    {
        var labels = new LabelStatistics(task, "Label", classCount);
        for (var label = 0; label < rows.Length; label++)
        {
            for (var row = 0; row < rows[label]; row++)
                labels.Add(label, weight: 1);
        }

        return labels;
    }
}
