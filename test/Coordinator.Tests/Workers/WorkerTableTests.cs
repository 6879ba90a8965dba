using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Tests.Workers;

[TestClass]
public sealed class WorkerTableTests
{
    [TestMethod]
    [DataRow(0, 1, DisplayName = "new")]
    [DataRow(119, 1, DisplayName = "as long again as it was kept from gangs")]
    [DataRow(120, 0, DisplayName = "old")]
    public void Ties_OfOneOrTheOther_CountWhileAGangMayDecide(int seconds, int expected)
    {
        var table = new WorkerTable(new CordonBook(new CoordinatorOptions { DataFolder = "" }));
        foreach (var id in (string[])["w1", "w2", "w3"])
            table.Open(new Hello { WorkerId = id, Host = id }, TimeSpan.Zero);
        var (first, second, third, now) = (table.Find("w1")!, table.Find("w2")!, table.Find("w3")!, TimeSpan.FromSeconds(seconds));
        table.Doubt(second, NetworkDoubt.After(null, "did not hear it", TimeSpan.Zero) with { Ties = ["w1"] }); // for a minute

        Assert.AreEqual(expected, table.Ties(first, [first, third], now));
        Assert.AreEqual(expected, table.Ties(second, [second, third], now));
        Assert.AreEqual(0, table.Ties(first, [first, second], now), "They are in one attempt.");
    }
}
