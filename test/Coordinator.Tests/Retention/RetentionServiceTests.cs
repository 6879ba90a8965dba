using MLDistributed.Coordinator.Retention;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Retention;

[TestClass]
public sealed class RetentionServiceTests
{
    [TestMethod]
    public async Task Collect_AfterThePeriod_KeepsWhatALivingJobNeeds()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var model = await Specs.UploadAsync(coordinator, "a model that nobody fetched");
        await Specs.SubmitAsync(coordinator);
        await coordinator.Get<Journal>().FlushAsync().Within();
        coordinator.Time.Advance(TimeSpan.FromDays(31));

        await coordinator.Get<RetentionService>().CollectAsync(CancellationToken.None).Within();

        Assert.IsFalse(File.Exists(Path.Combine(coordinator.DataFolder, "blobs", model.Id)));
        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }
}
