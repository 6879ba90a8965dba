using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Tests.Workers;

[TestClass]
public sealed class WorkerTableTests
{
    [TestMethod]
    [DataRow(0, "w1 w2", 0, DisplayName = "of the same attempt")]
    [DataRow(0, "w1 w3", 1)]
    [DataRow(119, "w1 w3", 1, DisplayName = "as long again as it was kept from gangs")]
    [DataRow(120, "w1 w3", 0, DisplayName = "old")]
    public void Ties_OfOthersDoubt_CountWhileAGangMayDecide(int seconds, string without, int expected)
    {
        var table = new WorkerTable(new CordonBook(new CoordinatorOptions { DataFolder = "" }));
        foreach (var id in (string[])["w1", "w2", "w3"])
            table.Open(new Hello { WorkerId = id, Host = id }, TimeSpan.Zero);
        var (first, second) = (table.Find("w1")!, table.Find("w2")!);
        table.Doubt(second, NetworkDoubt.After(null, "did not hear it", TimeSpan.Zero) with { Ties = ["w1"] }); // for a minute

        var attempt = without.Split(' ').Select(id => table.Find(id)!).ToList();
        Assert.AreEqual(expected, table.Ties(first, attempt, TimeSpan.FromSeconds(seconds)));
        Assert.AreEqual(expected, table.Ties(second, attempt.Where(w => w != first), TimeSpan.FromSeconds(seconds)));
    }
}
