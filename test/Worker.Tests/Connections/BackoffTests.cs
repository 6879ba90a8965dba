using MLDistributed.Worker.Connections;

namespace Worker.Tests.Connections;

[TestClass]
public sealed class BackoffTests
{
    [TestMethod]
    [DataRow(0, 0.5, 50)]
    [DataRow(1000, 0.5, 200)]
    [DataRow(1000, 0.0, 150)]
    [DataRow(10_000, 0.5, 2000)]
    [DataRow(3_600_000, 0.5, 5000)]
    public void Delay_GrowsWithTheOutage_WithinBounds(int outage, double random, int expected) =>
        Assert.AreEqual(TimeSpan.FromMilliseconds(expected), Backoff.Delay(TimeSpan.FromMilliseconds(outage), random));
}
