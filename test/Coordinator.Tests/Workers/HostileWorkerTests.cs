namespace MLDistributed.Coordinator.Tests.Workers;

/// <summary>Workers that say what no agent of ours does: the others feel nothing of it.</summary>
[TestClass]
public sealed class HostileWorkerTests
{
    [TestMethod]
    public async Task Hello_OfManyDevicesAndAttempts_HoldsNobodyUp()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var running = Enumerable.Range(0, 4096).Select(i => $"attempt-{i}").ToArray();

        using var worker = await FakeWorker.ConnectAsync(coordinator, "w1", slots: 4096, running);

        var cluster = await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
        Assert.AreEqual("busy", cluster.Workers.Single().Status);
    }

    [TestMethod]
    public async Task Checkpoints_ThatAreNotInTheStore_AreNotALineEach()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1 })));
        var start = await worker.ExpectStartAsync();
        for (var step = 0; step < 4000; step++)
            await worker.CheckpointAsync(start, new Artifact { Id = new string('a', 64) }, step);
        await worker.FailAsync(start, FailureKind.Training);
        await watch.ToEndAsync();

        Assert.IsLessThan(2100L, watch.Seen[^1].Sequence);
    }

    [TestMethod]
    public async Task Epochs_OfOneWorkerThatFloods_AreKeptInPart()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Epochs = 100_000)));
        var start = await worker.ExpectStartAsync();
        for (var epoch = 0; epoch < 4000; epoch++)
            await worker.EpochAsync(start, epoch);
        await worker.SucceedAsync(start);
        await watch.ToEndAsync();

        Assert.IsLessThan(2100L, watch.Seen[^1].Sequence);
        StringAssert.Contains(watch.Seen.Last(e => e.Log is not null).Log.Message, "2,000 lines of worker \"host-w1\" were dropped");
    }

    [TestMethod]
    public async Task Commands_ThatAWorkerDoesNotRead_EndItsSession()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectToMeetAsync(coordinator, "w1", 1);
        using var other = await FakeWorker.ConnectToMeetAsync(coordinator, "w2", 1);
        await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 2, Placement = Placement.Spread }));
        var (start, others) = (await worker.ExpectStartAsync(), await other.ExpectStartAsync());
        var text = new string('x', 10_000);
        await other.GatherAsync(others, 0, text);
        await worker.GatherAsync(start, 0, text);

        var isRefused = false;
        for (var i = 0; i < 1_000_000 && !isRefused; i++)
            isRefused = await IsRefusedAsync(worker.GatherAsync(start, 0, ""));

        Assert.IsTrue(isRefused, "It asked again and again, and read no answer.");
        await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
    }

    private static async Task<bool> IsRefusedAsync(Task sent)
    {
        try
        {
            await sent;
            return false;
        }
        catch (Exception e) when (e is RpcException or InvalidOperationException or IOException)
        {
            return true;
        }
    }
}
