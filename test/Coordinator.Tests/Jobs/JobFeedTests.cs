using MLDistributed.Coordinator.Jobs;

namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class JobFeedTests
{
    [TestMethod]
    public async Task Progress_OfALongJob_IsKeptToTheLatest()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        await worker.EpochAsync(start, 0);
        for (var step = 1; step <= 1300; step++)
            await worker.ProgressAsync(start, step);
        await worker.SucceedAsync(start);
        using (var live = new JobWatch(coordinator, jobId, after: 1300))
            await live.ToEndAsync();

        foreach (var restarted in new[] { false, true })
        {
            if (restarted)
            {
                await coordinator.StopServerAsync();
                await coordinator.StartServerAsync();
            }

            using var watch = new JobWatch(coordinator, jobId);
            await watch.ToEndAsync();
            var steps = watch.Seen.Where(e => e.Progress is not null).Select(e => e.Progress.Step).ToList();
            Assert.IsTrue(steps.Count is >= 1000 and < 1300, $"{steps.Count} kept");
            Assert.AreEqual(1300, steps[^1]);
            Assert.AreEqual(1, watch.Seen.Count(e => e.Epoch is not null), "Epochs are all kept.");
            Assert.AreEqual(JobState.Succeeded, watch.States.Last());
        }
    }

    [TestMethod]
    public async Task Watch_OfThePastOnly_EndsWithTheLatestEventOfAJobThatGoesOn()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var live = new JobWatch(coordinator, jobId);
        await worker.EpochAsync(await worker.ExpectStartAsync(), 0);
        while ((await live.NextAsync()).Epoch is null)
        {
        }

        using var past = coordinator.Jobs.WatchJob(new WatchJobRequest { JobId = jobId, PastOnly = true });
        var seen = new List<JobEvent>();
        while (await past.ResponseStream.MoveNext(CancellationToken.None).Within())
            seen.Add(past.ResponseStream.Current);

        CollectionAssert.AreEqual(live.Seen, seen);
    }

    [TestMethod]
    public async Task Read_AtTheEnd_WaitsForTheNextEvent()
    {
        var feed = new JobFeed();
        feed.Publish(Event(1, JobState.Queued));

        var next = feed.ReadAsync(1, 10, CancellationToken.None);
        Assert.IsFalse(next.IsCompleted);
        feed.Publish(Event(2, JobState.Cancelled));

        Assert.AreEqual(2, (await next.Within()).Single().Sequence);
        Assert.IsEmpty(await feed.ReadAsync(2, 10, CancellationToken.None).Within());
        await feed.Ended.Within();
    }

    private static JobEvent Event(long sequence, JobState state) => new() { Sequence = sequence, State = new StateChanged { State = state } };
}
