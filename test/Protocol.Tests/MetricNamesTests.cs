using MLDistributed.Protocol;

namespace Protocol.Tests;

[TestClass]
public sealed class MetricNamesTests
{
    [TestMethod]
    [DataRow("Within 0.5", true), DataRow("top-3@k/a_b", true)]
    [DataRow("", false), DataRow("0.5", false), DataRow("a ", false), DataRow("a\u001b[31m", false), DataRow("a,b", false), DataRow("\u00e4", false)]
    public void IsOwn_Name_IsShownAsItIs(string name, bool isOwn) => Assert.AreEqual(isOwn, MetricNames.IsOwn(name));

    [TestMethod]
    public void OfValidation_OwnMetrics_AreBehindTheTasksWhateverAWorkerSays()
    {
        var epoch = new EpochEnded { Task = MlTask.Regression, ValidationMetrics = { 0.5, 1, 2, 3, 4, 5 }, OwnMetrics = { "Own", "a\nb", "Own" } };

        var metrics = MetricNames.OfValidation(epoch);

        Assert.AreEqual("RSquared 0.5, MeanAbsoluteError 1, RootMeanSquaredError 2, Own 5", string.Join(", ", metrics.Select(m => $"{m.Key} {m.Value}")));
        Assert.IsEmpty(MetricNames.OfTraining(epoch));
    }
}
