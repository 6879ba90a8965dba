using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Jobs;

/// <summary>What a submission costs, counted: in time it would say more of the machine than of the coordinator.</summary>
[TestClass]
public sealed class SubmissionCostTests
{
    [TestMethod]
    public async Task Submission_BehindAnyNumberOfJobs_WritesTheSameRows()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        await Specs.SubmitAsync(coordinator);
        await worker.ExpectStartAsync();

        await SubmitAsync(coordinator, 10);
        var behindFew = await RowsAsync(coordinator);
        await SubmitAsync(coordinator, 10);
        behindFew = await RowsAsync(coordinator) - behindFew;
        await SubmitAsync(coordinator, 300, urgent: true); // each goes ahead of all that wait, and changes why they do
        var behindMany = await RowsAsync(coordinator);
        await SubmitAsync(coordinator, 10);
        behindMany = await RowsAsync(coordinator) - behindMany;

        Assert.AreEqual(behindFew, behindMany);
        Assert.AreEqual(10 * 3, behindFew, "a job, its first state, its first event");
    }

    [TestMethod]
    public async Task Reason_OfAWaitingJob_IsFoundOutWhenAsked()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        await Specs.SubmitAsync(coordinator);
        await worker.ExpectStartAsync();
        await Specs.SubmitAsync(coordinator, Specs.Valid("first"));
        var last = await Specs.SubmitAsync(coordinator, Specs.Valid("last"));

        Assert.AreEqual("waits behind job \"first\", which came first", (await GetAsync(coordinator, last)).Reason);
        await Specs.SubmitAsync(coordinator, Specs.Valid("urgent", s => s.Priority = 1));

        Assert.AreEqual("waits behind job \"urgent\", which has a higher priority", (await GetAsync(coordinator, last)).Reason);
        var listed = await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within();
        Assert.AreEqual("waits behind job \"urgent\", which has a higher priority", listed.Jobs.Single(j => j.Id == last).Reason);
    }

    [TestMethod]
    public async Task Watch_OfAWaitingJob_IsToldWhyAtOnceAndThenAtTicksOnly()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        await Specs.SubmitAsync(coordinator);
        await worker.ExpectStartAsync();
        await Specs.SubmitAsync(coordinator, Specs.Valid("first"));
        var last = await Specs.SubmitAsync(coordinator, Specs.Valid("last"));
        using var watch = new JobWatch(coordinator, last);
        await watch.UntilAsync(JobState.Queued, "waits behind job \"first\"");

        for (var priority = 1; priority <= 5; priority++)
            await Specs.SubmitAsync(coordinator, Specs.Valid($"urgent {priority}", s => s.Priority = priority));
        coordinator.Time.Advance(TimeSpan.FromSeconds(1));

        await watch.UntilAsync(JobState.Queued, "waits behind job \"urgent 5\"");
        CollectionAssert.AreEqual(new[] { 1L, 1, 1 }, watch.Seen.Select(e => e.Sequence).ToArray());
        using var again = coordinator.Jobs.WatchJob(new WatchJobRequest { JobId = last, PastOnly = true });
        Assert.IsTrue(await again.ResponseStream.MoveNext(CancellationToken.None).Within());
        Assert.AreEqual("submitted", again.ResponseStream.Current.State.Reason);
        Assert.IsFalse(await again.ResponseStream.MoveNext(CancellationToken.None).Within(), "Reasons are no history.");
    }

    private static async Task SubmitAsync(TestCoordinator coordinator, int count, bool urgent = false)
    {
        for (var i = 0; i < count; i++)
            await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Priority = urgent ? 1 : 0));
    }

    private static async Task<int> RowsAsync(TestCoordinator coordinator)
    {
        await coordinator.Get<Journal>().FlushAsync().Within();
        using var context = coordinator.Get<ClusterDatabase>().NewContext();
        return context.Jobs.Count() + context.JobTransitions.Count() + context.JobEvents.Count();
    }

    private static async Task<JobSnapshot> GetAsync(TestCoordinator coordinator, string jobId) => await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within();
}
