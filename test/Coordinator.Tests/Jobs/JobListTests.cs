using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Jobs;

[TestClass]
public sealed class JobListTests
{
    private const int Features = 200_000;

    [TestMethod]
    public async Task List_OfJobsWithManyFeatures_IsSmallAndTheJobIsWhole()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        for (var i = 0; i < 3; i++)
            await Specs.SubmitAsync(coordinator, Wide());

        foreach (var restarted in new[] { false, true })
        {
            if (restarted)
            {
                await coordinator.StopServerAsync();
                await coordinator.StartServerAsync();
            }

            var list = await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within();
            Assert.HasCount(3, list.Jobs);
            Assert.IsLessThan(3000, list.CalculateSize());
            Assert.AreEqual((Features, 2, Specs.DatasetId), (list.Jobs[0].Outline.Module.Mlp.InputSize, list.Jobs[0].Outline.Epochs, list.Jobs[0].Outline.Data.DatasetId));
            Assert.AreEqual(Wide(), (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = list.Jobs[0].Id }).Within()).Spec);
        }

        using var worker = await FakeWorker.ConnectAsync(coordinator);
        Assert.AreEqual(Wide(), (await worker.ExpectStartAsync()).Spec, "The worker gets all of it.");
    }

    [TestMethod]
    public async Task Pages_Followed_AreAllJobsOnceAndOneTenantsAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var submitted = new List<string>();
        for (var i = 0; i < 7; i++)
            submitted.Insert(0, await Specs.SubmitAsync(coordinator));

        var listed = new List<string>();
        var request = new ListJobsRequest { Limit = 3 };
        do
        {
            var page = await coordinator.Jobs.ListJobsAsync(request).Within();
            Assert.IsLessThanOrEqualTo(3, page.Jobs.Count);
            listed.AddRange(page.Jobs.Select(j => j.Id));
            request.PageToken = page.NextPageToken;
        }
        while (request.PageToken.Length > 0);

        CollectionAssert.AreEqual(submitted, listed);
        var refused = await coordinator.Jobs.ListJobsAsync(new ListJobsRequest { PageToken = "nothing" }).Fails(StatusCode.InvalidArgument);
        StringAssert.Contains(refused.Status.Detail, "\"nothing\"");
    }

    [TestMethod]
    public async Task List_OfATrainedJob_LeavesItsHistoryToTheJobItself()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        using var watch = new JobWatch(coordinator, jobId);
        var start = await worker.ExpectStartAsync();
        var result = new JobResult { WorldSize = 2, History = { Enumerable.Range(0, 5).Select(e => new EpochEnded { Epoch = e }) } };
        await worker.SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = start.AttemptId, Result = result } });
        await watch.ToEndAsync();

        foreach (var restarted in new[] { false, true })
        {
            if (restarted)
            {
                await coordinator.StopServerAsync();
                await coordinator.StartServerAsync();
            }

            var listed = (await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within()).Jobs.Single();
            Assert.IsEmpty(listed.Result.History);
            Assert.AreEqual(2, listed.Result.WorldSize);
            Assert.HasCount(5, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = jobId }).Within()).Result.History);
        }
    }

    [TestMethod]
    public async Task Job_WhoseSpecificationIsGone_FailsAndHoldsNobodyUp()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var damaged = await Specs.SubmitAsync(coordinator);
        var next = await Specs.SubmitAsync(coordinator);
        coordinator.Get<Journal>().Append(rows => rows.JobDocuments.Remove(rows.JobDocuments.Single(d => d.JobId == damaged)));
        await coordinator.Get<Journal>().FlushAsync().Within();

        using var worker = await FakeWorker.ConnectAsync(coordinator);

        Assert.AreEqual(next, (await worker.ExpectStartAsync()).JobId);
        using var watch = new JobWatch(coordinator, damaged);
        StringAssert.Contains((await watch.ToEndAsync()).State.Failure.Message, "cannot be read from the database");
    }

    private static JobSpec Wide() => Specs.Valid(change: s =>
    {
        s.Module.Mlp.InputSize = Features;
        s.Data.Features = new FeatureScaling { Mean = { Enumerable.Repeat(0.5f, Features) }, Scale = { Enumerable.Repeat(2f, Features) } };
    });
}
