using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Tests.Workers;

/// <summary>No worker fills the database, or holds others up, with what it says.</summary>
[TestClass]
public sealed class RelayLimitTests
{
    [TestMethod]
    public async Task Lines_OfOneWorkerThatFloods_AreKeptInPartAndWhatIsMissingIsTold()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        for (var i = 0; i < 5000; i++)
            await worker.LogAsync(start, $"line {i}");
        await worker.SucceedAsync(start);

        using var watch = new JobWatch(coordinator, jobId);
        await watch.ToEndAsync();

        var events = watch.Seen[^1].Sequence;
        Assert.IsTrue(events is > 2000 and < 2100, $"{events} events of 5,000 lines");
        StringAssert.Contains(watch.Seen.Last(e => e.Log is not null).Log.Message, "3,000 lines of worker \"host-w1\" were dropped");
    }

    [TestMethod]
    public async Task Epochs_ThatTheJobDoesNotHave_AreNotKept()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Epochs = 2)));
        var start = await worker.ExpectStartAsync();
        for (var epoch = 0; epoch < 10; epoch++)
            await worker.EpochAsync(start, epoch);
        await worker.SucceedAsync(start);
        await watch.ToEndAsync();

        CollectionAssert.AreEqual(new[] { 0, 1 }, watch.Seen.Where(e => e.Epoch is not null).Select(e => e.Epoch.Epoch).ToArray());
    }

    [TestMethod]
    public async Task Line_ThatIsTooLong_IsCut()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        await worker.LogAsync(await worker.ExpectStartAsync(), new string('x', RelayLimits.MaxLineLength + 1000));

        JobEvent line;
        while ((line = await watch.NextAsync()).Log is null)
        {
        }

        Assert.AreEqual(new string('x', RelayLimits.MaxLineLength) + "... (1,000 characters more)", line.Log.Message);
    }

    [TestMethod]
    public void Bucket_GivesItsBurstAndThenItsRate()
    {
        var bucket = new TokenBucket(perSecond: 2, burst: 3);

        Assert.AreEqual(3, Enumerable.Range(0, 10).Count(_ => bucket.TryTake(1, TimeSpan.Zero)));
        Assert.AreEqual(2, Enumerable.Range(0, 10).Count(_ => bucket.TryTake(1, TimeSpan.FromSeconds(1))));
        Assert.AreEqual(3, Enumerable.Range(0, 10).Count(_ => bucket.TryTake(1, TimeSpan.FromHours(1))));
        Assert.IsFalse(bucket.TryTake(4, TimeSpan.FromHours(2)), "more than it ever holds");
    }
}
