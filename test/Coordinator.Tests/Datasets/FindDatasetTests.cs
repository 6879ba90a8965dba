using MLDistributed.Coordinator.Datasets;

namespace MLDistributed.Coordinator.Tests.Datasets;

[TestClass]
public sealed class FindDatasetTests
{
    [TestMethod]
    public async Task Datasets_ThatAreOnlyAskedFor_LeaveNothingBehind()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        for (var i = 0; i < 50; i++)
            Assert.IsFalse((await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = i.ToString("x64") }).Within()).Complete);
        using (var refused = new FlightUpload(coordinator.Connect().Invoker, new string('a', 64), 0, 1))
        {
            await refused.BeginAsync(new TestData(batches: 1).Schema); // and not a batch
            await refused.CompleteAsync().Fails(StatusCode.DataLoss);
        }

        Assert.AreEqual(0, coordinator.Get<DatasetStore>().PartialCount);
        Assert.IsEmpty(coordinator.Get<DatasetStore>().Partials());
    }
}
