namespace MLDistributed.Coordinator.Tests.Cordons;

/// <summary>Workers that failures follow, and those that an operator keeps jobs away from.</summary>
[TestClass]
public sealed class CordonTests
{
    private static readonly string[] s_urls = ["http://127.0.0.1:0"]; // workers may come

    [TestMethod]
    public async Task Failures_ThatFollowAWorker_SendTheJobToAnother()
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_urls);
        await Specs.AddDatasetAsync(coordinator);
        using var bad = await FakeWorker.ConnectAsync(coordinator, "w1");
        using var good = await FakeWorker.ConnectAsync(coordinator, "w2");
        var id = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 2, MaxRanks = 2 }));
        using var watch = new JobWatch(coordinator, id);

        for (var step = 1; step <= 2; step++)
        {
            var attempt = await bad.ExpectStartAsync();
            await bad.StartedAsync(attempt);
            await bad.FailAsync(attempt, FailureKind.Crashed, step, keptStep: step);
        }

        await watch.UntilAsync(JobState.Recovering, "Attempt 3 follows. For 5 min worker \"host-w1\" gets only jobs that no others could hold: 2 of the 2 attempts on it failed within 10 min.");
        await watch.UntilAsync(JobState.Placing, "placed on \"host-w2\" with 2 ranks of cpu; \"host-w1\" is left out (2 of the 2 attempts on it failed within 10 min)");
        var third = await good.ExpectStartAsync();
        var shown = await WorkerAsync(coordinator, "w1");
        Assert.AreEqual(("cordoned", false), (shown.Status, shown.Cordon.IsByHand));
        Assert.IsGreaterThan(200, shown.Cordon.SecondsLeft);
        Assert.IsNull((await WorkerAsync(coordinator, "w2")).Cordon);
        await good.StartedAsync(third);
        await good.SucceedAsync(third);
        await watch.ToEndAsync();

        // A larger one has no other worker: it is not left waiting for the cordon's end.
        using var large = await FakeWorker.ConnectAsync(coordinator, "w0", slots: 1);
        good.Dispose();
        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromMilliseconds(10), () => WorkerAsync(coordinator, "w2"), w => w.Status == "lost");
        var second = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 2 }));
        using var other = new JobWatch(coordinator, second);
        await other.UntilAsync(JobState.Placing, "placed on \"host-w1\" with 2 ranks of cpu, for want of others: \"host-w1\" is in doubt (2 of the 2 attempts on it failed within 10 min)");
        await bad.ExpectStartAsync();
    }

    [TestMethod]
    [DataRow(FailureKind.Training)]
    [DataRow(FailureKind.Invalid)]
    public async Task Failures_OfTheJobItself_CountAgainstNobody(FailureKind kind)
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_urls);
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, "w1");
        for (var i = 0; i < 3; i++)
        {
            var id = await Specs.SubmitAsync(coordinator, Specs.Valid());
            using var watch = new JobWatch(coordinator, id);
            var attempt = await worker.ExpectStartAsync();
            await worker.StartedAsync(attempt);
            await worker.FailAsync(attempt, kind, message: "The module threw.");
            await watch.ToEndAsync();
        }

        Assert.AreEqual("ready", (await WorkerAsync(coordinator, "w1")).Status);
    }

    [TestMethod]
    public async Task Worker_ThatLeavesAgainAndAgain_IsNotCordoned()
    {
        await using var coordinator = await TestCoordinator.StartAsync(s_urls);
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, "w1");
        var id = await Specs.SubmitAsync(coordinator, Specs.Valid());
        using var watch = new JobWatch(coordinator, id);
        for (var i = 0; i < 2; i++)
        {
            var attempt = await worker.ExpectStartAsync();
            await worker.SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = attempt.AttemptId, IsLeaving = true, Failure = new JobFailure { Kind = FailureKind.WorkerLost, Message = "It was told to leave.", KeptStep = i + 1 } } });
        }

        await worker.ExpectStartAsync();
        Assert.IsNull((await WorkerAsync(coordinator, "w1")).Cordon);
    }

    [TestMethod]
    public async Task Operator_CordonsAWorker_JobsWaitWithTheReasonAlsoAfterARestart()
    {
        await using var coordinator = await TestCoordinator.StartAsync(); // of one app: its jobs wait too
        await Specs.AddDatasetAsync(coordinator);
        using (var worker = await FakeWorker.ConnectAsync(coordinator, "w1"))
            Assert.AreEqual("cordoned", (await coordinator.Administration.CordonWorkerAsync(new CordonWorkerRequest { WorkerId = "w1", Reason = "its fan is noisy" }).ResponseAsync.Within()).Status);
        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();
        using var back = await FakeWorker.ConnectAsync(coordinator, "w1");
        foreach (var placement in new[] { Placement.OneWorker, Placement.Pack })
        {
            var id = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 1, MaxRanks = 1, Placement = placement }));
            var waiting = await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = id }).Within();
            StringAssert.Contains(waiting.Reason, "2 slots of \"host-w1\" cannot be used: it is cordoned: its fan is noisy");
            if (placement == Placement.Pack)
                await coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = id }).ResponseAsync.Within();
        }

        var shown = await WorkerAsync(coordinator, "w1");
        Assert.AreEqual((true, 0.0, "its fan is noisy"), (shown.Cordon.IsByHand, shown.Cordon.SecondsLeft, shown.Cordon.Reason));
        Assert.IsNull((await coordinator.Administration.UncordonWorkerAsync(new UncordonWorkerRequest { WorkerId = "w1" }).ResponseAsync.Within()).Cordon);
        await back.ExpectStartAsync();
        await coordinator.StopServerAsync();
        await coordinator.StartServerAsync();
        using var again = await FakeWorker.ConnectAsync(coordinator, "w1");
        Assert.IsNull((await WorkerAsync(coordinator, "w1")).Cordon);
    }

    [TestMethod]
    public async Task Database_OfTheReleaseBefore_LearnsOfCordons()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await coordinator.StopServerAsync();
        using (var connection = new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={coordinator.DataFolder}/coordinator.db;Pooling=False"))
        {
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = "DROP TABLE \"Cordons\"; PRAGMA user_version = 7;";
            command.ExecuteNonQuery();
        }

        await coordinator.StartServerAsync();
        using var worker = await FakeWorker.ConnectAsync(coordinator, "w1");
        Assert.AreEqual("cordoned", (await coordinator.Administration.CordonWorkerAsync(new CordonWorkerRequest { WorkerId = "w1" }).ResponseAsync.Within()).Status);
    }

    [TestMethod]
    public async Task Operator_NamesAnUnknownWorker_HearsWhich()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var error = await coordinator.Administration.CordonWorkerAsync(new CordonWorkerRequest { WorkerId = "w9" }).Fails(StatusCode.NotFound);
        StringAssert.StartsWith(error.Status.Detail, "Worker \"w9\" is unknown, expected");
        await coordinator.Administration.UncordonWorkerAsync(new UncordonWorkerRequest { WorkerId = "w9" }).Fails(StatusCode.NotFound);
    }

    private static async Task<WorkerSnapshot> WorkerAsync(TestCoordinator coordinator, string id) =>
        (await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within()).Workers.Single(w => w.Id == id);
}
