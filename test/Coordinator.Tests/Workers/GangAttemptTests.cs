namespace MLDistributed.Coordinator.Tests.Workers;

/// <summary>An attempt on two workers: it begins on both, ends on both, and its first failure is the job's.</summary>
[TestClass]
public sealed class GangAttemptTests
{
    [TestMethod]
    public async Task Gang_AllGoesWell_BeginsWhenAllAreReadyAndEndsWithRank0sResult()
    {
        await using var gang = await StartAsync();
        var (first, second) = (gang.Starts[0], gang.Starts[1]);
        Assert.AreEqual("host-w1:2 host-w2:2 0", $"{string.Join(' ', first.Participants.Select(p => $"{p.Host}:{p.Ranks}"))} {first.Participant}");
        Assert.AreEqual((first.AttemptId, 1), (second.AttemptId, second.Participant));

        await gang.Workers[0].ReadyAsync(first);
        await gang.Workers[1].ReadyAsync(second);
        await gang.Workers[0].ExpectBeginAsync();
        await gang.Workers[1].ExpectBeginAsync();
        await gang.Workers[1].GatherAsync(second, 0, "b");
        await gang.Workers[0].GatherAsync(first, 0, "a");
        foreach (var worker in gang.Workers)
            Assert.AreEqual("a b", string.Join(' ', (await worker.ExpectGatheredAsync()).Texts.Select(t => t.ToStringUtf8())));
        await gang.Workers[1].GatherAsync(second, 0, "b"); // as after an outage: it may not have heard
        Assert.AreEqual(0, (await gang.Workers[1].ExpectGatheredAsync()).Round);
        await gang.Workers[0].StartedAsync(first);
        await gang.Workers[1].StartedAsync(second);
        var running = await gang.Watch.UntilAsync(JobState.Running, "runs on \"host-w1\" with 2 ranks and \"host-w2\" with 2 ranks");
        Assert.AreEqual(4, running.State.WorldSize);
        Assert.HasCount(2, (await gang.JobAsync()).Hosts);
        await gang.Workers[1].ProgressAsync(second, 99); // rank 0 alone tells of the training
        await gang.Workers[1].FinishAsync(second);
        await gang.Workers[0].SucceedAsync(first);

        StringAssert.EndsWith((await gang.Watch.ToEndAsync()).State.Reason, "of 2 workers");
        Assert.IsFalse(gang.Watch.Seen.Any(e => e.Progress is not null));
        await Eventually.UntilAsync(gang.Coordinator, () => gang.Coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within(), c => c.Workers.All(w => w.Status == "ready"));
    }

    [TestMethod]
    public async Task Gang_OnGpusOfTwoModels_WaitsWithTheReasonAndStartsWhenItMixesThem()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        await Specs.AddDatasetAsync(coordinator);
        using var first = await FakeWorker.ConnectToMeetAsync(coordinator, "w1", gpu: "NVIDIA A100");
        using var second = await FakeWorker.ConnectToMeetAsync(coordinator, "w2", gpu: "NVIDIA L4");

        using var watch = new JobWatch(coordinator, await Submit(mixes: false));
        await watch.UntilAsync(JobState.Queued, "and NVIDIA A100 and \"host-w2\" has mldist 1 with MPICH 4 and NCCL 2.27.5 and NVIDIA L4, expected the same on all; GPUs of several models could hold it, with MixedDevices");
        await Submit(mixes: true);

        Assert.AreEqual(2, (await first.ExpectStartAsync()).Participants.Count);
        await second.ExpectStartAsync();

        Task<string> Submit(bool mixes) =>
            Specs.SubmitAsync(coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 4, MaxRanks = 4, Placement = Placement.Pack, MixedDevices = mixes }));
    }

    [TestMethod]
    public async Task DataOffer_OfAWorker_IsToldToTheOthersOnceAndAsItsOwn()
    {
        await using var gang = await StartAsync();

        // Whose it is says the coordinator, not the worker.
        await gang.Workers[1].OfferAsync(new DataOffer { AttemptId = gang.Starts[1].AttemptId, Participant = 0, Address = "10.1.0.2:7399", Fingerprint = "f", Key = "k" });

        Assert.AreEqual(new DataOffer { AttemptId = gang.Starts[0].AttemptId, Participant = 1, Address = "10.1.0.2:7399", Fingerprint = "f", Key = "k" }, await gang.Workers[0].ExpectOfferAsync());
        await gang.Workers[1].OfferAsync(new DataOffer { AttemptId = gang.Starts[1].AttemptId, Address = "10.1.0.2:7398" });
        await gang.Workers[1].AbortAsync(gang.Starts[1], 3);
        Assert.AreEqual(3, (await gang.Workers[0].ExpectAbortAsync()).Rank, "The second is not told.");
    }

    [TestMethod]
    public async Task Bystander_HeardFirst_WaitsForTheCause()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[1].AbortAsync(gang.Starts[1], 3);
        Assert.AreEqual(3, (await gang.Workers[0].ExpectAbortAsync()).Rank);
        await gang.Workers[0].FailAsBystanderAsync(gang.Starts[0], "Rank 0 was stopped because rank 3 aborted.");
        await gang.Workers[1].ExpectStopAsync();
        await gang.Workers[1].FailAsync(gang.Starts[1], FailureKind.Crashed, message: "Rank 3 was killed.");

        StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason, "Rank 3 was killed. Attempt 2 follows");
        foreach (var worker in gang.Workers)
            Assert.AreEqual(2, (await worker.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Bystanders_WithoutACause_SpeakAfterAWhile()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[0].FailAsBystanderAsync(gang.Starts[0], "Rank 0 waited for rank 2.");
        await gang.Workers[1].ExpectStopAsync();
        await gang.Workers[1].StoppedAsync(gang.Starts[1].AttemptId);

        StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason, "Rank 0 waited for rank 2.");
    }

    [TestMethod]
    public async Task Failure_OfOneWorker_StopsTheOtherWhoseSlotsAreHeldUntilItEnds()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[1].FailAsync(gang.Starts[1], FailureKind.Crashed, message: "Rank 3 was killed.");
        Assert.AreEqual("Rank 3 was killed.", (await gang.Workers[0].ExpectStopAsync()).Reason);
        for (var beats = 0; beats < 2; beats++) // it does not say that it has
        {
            gang.Coordinator.Time.Advance(TimeSpan.FromSeconds(3));
            await gang.Workers[0].BeatAsync(gang.Coordinator);
            await gang.Workers[1].BeatAsync(gang.Coordinator);
        }

        await gang.Watch.UntilAsync(JobState.Recovering, "Rank 3 was killed.");
        StringAssert.Contains((await gang.JobAsync()).Reason, "2 held until their workers confirm");
        await gang.Workers[0].ExpectStopAsync();
        await gang.Workers[0].StoppedAsync(gang.Starts[0].AttemptId);
        Assert.AreEqual(2, (await gang.Workers[0].ExpectStartAsync()).Attempt);
    }

    // The one that fails has lost what it had, as it would with its agent.
    [TestMethod]
    public async Task State_ThatTheOtherWorkerHasInMemory_IsProgress()
    {
        await using var gang = await StartAsync(isRunning: true);
        var starts = gang.Starts;
        foreach (var (attempt, kept, reason) in new[] { (1, 50, "Attempt 2 follows."), (2, 60, "Attempt 3 follows."), (3, 60, "Attempt 4 follows; 2 of 3 were lost without progress.") })
        {
            await gang.Workers[1].FailAsync(starts[1], FailureKind.Crashed, message: $"Rank 3 was killed in attempt {attempt}.");
            await gang.Workers[0].ExpectStopAsync();
            await gang.Workers[0].StoppedAsync(starts[0].AttemptId, kept);
            StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering, $"in attempt {attempt}.")).State.Reason, $"Rank 3 was killed in attempt {attempt}. {reason}");
            if (attempt < 3)
                starts = [await gang.Workers[0].ExpectStartAsync(), await gang.Workers[1].ExpectStartAsync()];
        }
    }

    // What the worker kept whose part was only stopped is in the database too.
    [TestMethod]
    [DataRow(60, "Attempt 4 follows; 2 of 3 were lost without progress.", DisplayName = "no further")]
    [DataRow(61, "Attempt 4 follows.", DisplayName = "a step further")]
    public async Task State_ThatTheOtherWorkerHadInMemory_IsProgressAfterARestart(long kept, string reason)
    {
        await using var gang = await StartAsync(isRunning: true);
        var starts = gang.Starts;
        foreach (var step in (long[])[50, 60])
        {
            await gang.Workers[1].FailAsync(starts[1], FailureKind.Crashed, message: "Rank 3 was killed.");
            await gang.Workers[0].ExpectStopAsync();
            await gang.Workers[0].StoppedAsync(starts[0].AttemptId, step);
            starts = [await gang.Workers[0].ExpectStartAsync(), await gang.Workers[1].ExpectStartAsync()];
        }

        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();
        using var first = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w1", 2, starts[0].AttemptId);
        using var second = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, starts[0].AttemptId);
        await second.FailAsync(starts[1], FailureKind.Crashed, message: "Rank 3 was killed in attempt 3.");
        await first.ExpectStopAsync();
        await first.StoppedAsync(starts[0].AttemptId, kept);

        using var watch = new JobWatch(gang.Coordinator, gang.JobId);
        Assert.AreEqual($"Rank 3 was killed in attempt 3. {reason}", (await watch.UntilAsync(JobState.Recovering, "in attempt 3.")).State.Reason);
    }

    [TestMethod]
    public async Task Checkpoint_Damaged_IsFollowedByWhatTheOtherWorkerHasInMemory()
    {
        await using var gang = await StartAsync(isRunning: true);
        await gang.Workers[0].CheckpointAsync(gang.Starts[0], await Specs.UploadAsync(gang.Coordinator, "30"), 30);

        await gang.Workers[1].FailAsync(gang.Starts[1], FailureKind.CheckpointDamaged, message: "A byte is another.");
        await gang.Workers[0].ExpectStopAsync();
        await gang.Workers[0].StoppedAsync(gang.Starts[0].AttemptId, 25);

        await gang.Watch.UntilLogAsync("The checkpoint of step 30 is damaged. Training goes on from step 25, which a worker has in memory.");
        await gang.Watch.UntilAsync(JobState.Recovering, "A byte is another. Attempt 2 follows, from step 25, which a worker has in memory.");
    }

    [TestMethod]
    public async Task Worker_ThatIsLost_EndsTheAttemptOnTheOther()
    {
        await using var gang = await StartAsync(isRunning: true);
        gang.Workers[1].Dispose();

        for (var beats = 0; beats < 2; beats++)
        {
            gang.Coordinator.Time.Advance(TimeSpan.FromSeconds(3));
            await gang.Workers[0].BeatAsync(gang.Coordinator);
        }

        await gang.Workers[0].ExpectStopAsync();
        await gang.Workers[0].StoppedAsync(gang.Starts[0].AttemptId);
        StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason, "Worker \"host-w2\" was silent for");
        await Eventually.AdvanceUntilAsync(gang.Coordinator, TimeSpan.FromMilliseconds(10), gang.JobAsync, j => j.Reason.Contains("needs 4 ranks on workers that can meet; \"host-w1\" has 2", StringComparison.Ordinal));
        // It comes back with its part, which nobody wants any more.
        using var back = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, gang.Starts[1].AttemptId);
        await back.ExpectStopAsync();
        await back.StoppedAsync(gang.Starts[1].AttemptId);
        Assert.AreEqual(2, (await back.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Network_ThatIsGone_EndsTheAttemptAndKeepsTheNextAway()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[1].CutAsync("interface \"eth0\" has no link");
        for (var i = 0; i < 2; i++)
        {
            await gang.Workers[i].ExpectStopAsync();
            await gang.Workers[i].StoppedAsync(gang.Starts[i].AttemptId);
        }

        await gang.Watch.UntilAsync(JobState.Recovering, "Worker \"host-w2\" cannot use its network any more: interface \"eth0\" has no link");
        var job = await Eventually.UntilAsync(gang.Coordinator, gang.JobAsync, j => !j.Reason.Contains("Attempt 2", StringComparison.Ordinal));
        StringAssert.Contains(job.Reason, "\"host-w1\" has 2; \"host-w2\" cannot use its network: interface \"eth0\" has no link");
    }

    [TestMethod]
    public async Task Network_ThatLosesTheirWords_EndsTheAttemptAndKeepsTheLostOneFromGangsForAMinute()
    {
        await using var gang = await StartAsync(isRunning: true);

        // The one that is lost is the first to say so.
        await gang.Workers[1].DoesNotHearAsync(gang.Starts[1], isLost: true, 0);
        await gang.Workers[0].ExpectStopAsync();
        await gang.Workers[1].ExpectStopAsync();
        await gang.Workers[0].DoesNotHearAsync(gang.Starts[0], isLost: false, 1, 1, 0, 77); // nonsense besides
        for (var i = 0; i < 2; i++)
            await gang.Workers[i].StoppedAsync(gang.Starts[i].AttemptId);

        var reason = (await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason;
        StringAssert.StartsWith(reason, "Worker \"host-w1\" has heard nothing of worker \"host-w2\" (10.0.0.1:7300, UDP) for 5 s");
        StringAssert.EndsWith(reason, "For 1 min worker \"host-w2\" gets no job over several workers, as it may be at fault, or \"host-w1\": it counts for nobody until a gang with others decides it.");
        var job = await Eventually.UntilAsync(gang.Coordinator, gang.JobAsync, j => !j.Reason.Contains("Attempt 2", StringComparison.Ordinal));
        StringAssert.Contains(job.Reason, "\"host-w2\" cannot use its network: \"host-w1\" and it did not hear one another there");
        for (var beats = 0; beats < 20; beats++) // a minute
        {
            gang.Coordinator.Time.Advance(TimeSpan.FromSeconds(3.1));
            foreach (var worker in gang.Workers)
                await worker.BeatAsync(gang.Coordinator);
        }

        foreach (var worker in gang.Workers)
            Assert.AreEqual(2, (await worker.ExpectStartAsync()).Attempt);
    }

    // Of two workers nothing decides it.
    [TestMethod]
    public async Task Tie_OfTwoWorkersAgainAndAgain_EndsTheJobAndCordonsNobody()
    {
        const int attempts = 3;
        await using var gang = await StartAsync(maxAttempts: attempts);
        var starts = gang.Starts;
        for (var attempt = 1; ; attempt++)
        {
            await TieAsync(gang.Workers, starts);
            if (attempt == attempts)
                break;
            await gang.Watch.UntilAsync(JobState.Recovering);
            for (var beats = 0; beats < 20 * attempt; beats++) // a minute, then two
            {
                gang.Coordinator.Time.Advance(TimeSpan.FromSeconds(3.1));
                foreach (var worker in gang.Workers)
                    await worker.BeatAsync(gang.Coordinator);
            }

            starts = [await gang.Workers[0].ExpectStartAsync(), await gang.Workers[1].ExpectStartAsync()];
        }

        Assert.AreEqual(JobState.Failed, (await gang.Watch.ToEndAsync()).State.State);
        var cluster = await gang.Coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
        Assert.IsTrue(cluster.Workers.All(w => w.Cordon is null), "As after two failures that count.");
    }

    [TestMethod]
    [DataRow(true, DisplayName = "The one with rank 0")]
    [DataRow(false, DisplayName = "The other")]
    public async Task Tie_IsDecidedByTheNextGangWithAnother(bool isFirst)
    {
        await using var gang = await StartAsync();
        using var third = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w3");
        await TieAsync(gang.Workers, gang.Starts);
        FakeWorker[] next = [gang.Workers[0], third];
        var starts = new[] { await next[0].ExpectStartAsync(), await next[1].ExpectStartAsync() };

        if (isFirst)
        {
            await TieAsync(next, starts);

            StringAssert.EndsWith((await gang.Watch.UntilAsync(JobState.Recovering, "host-w3")).State.Reason, "For 1 min worker \"host-w1\" gets no job over several workers.");
            gang.Coordinator.Time.Advance(TimeSpan.FromSeconds(2));
            foreach (var worker in new[] { gang.Workers[1], third }) // and the second is in no doubt any more
                Assert.AreEqual(3, (await worker.ExpectStartAsync()).Attempt);
        }
        else
        {
            await next[1].FinishAsync(starts[1]);
            await Eventually.UntilAsync(gang.Coordinator, () => gang.Coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within(), c => c.Workers.Single(w => w.Id == "w3").Status != "busy"); // else it is told to stop
            await next[0].SucceedAsync(starts[0]);
            Assert.AreEqual(JobState.Succeeded, (await gang.Watch.ToEndAsync()).State.State);

            // What comes after counts as if there had been no tie: the first was heard.
            await Specs.SubmitAsync(gang.Coordinator, Specs.Valid(change: s => s.Resources = new ResourceSpec { MinRanks = 4, MaxRanks = 4, Placement = Placement.Pack }));
            await TieAsync(next, [await next[0].ExpectStartAsync(), await next[1].ExpectStartAsync()]);
            var cluster = await Eventually.UntilAsync(gang.Coordinator, () => gang.Coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within(), c => c.Workers.Single(w => w.Id == "w3").Network.Fault.Length > 0);
            Assert.AreEqual("", cluster.Workers.Single(w => w.Id == "w1").Network.Fault);
        }
    }

    // Neither hears the other.
    private static async Task TieAsync(FakeWorker[] workers, StartAttempt[] starts)
    {
        await workers[1].DoesNotHearAsync(starts[1], isLost: true, 0);
        await workers[0].DoesNotHearAsync(starts[0], isLost: true, 1);
        for (var i = 0; i < 2; i++)
        {
            await workers[i].ExpectStopAsync();
            await workers[i].StoppedAsync(starts[i].AttemptId);
        }
    }

    [TestMethod]
    public async Task Worker_ThatStandsStill_MayBeInTheNextAttempt()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[1].DoesNotHearAsync(gang.Starts[1], isLost: true, 0);
        for (var i = 0; i < 2; i++)
        {
            await gang.Workers[i].ExpectStopAsync();
            await gang.Workers[i].StoppedAsync(gang.Starts[i].AttemptId);
        }

        StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason, "Worker \"host-w2\" has heard nothing of worker \"host-w1\"");
        foreach (var worker in gang.Workers)
            Assert.AreEqual(2, (await worker.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Worker_ThatStandsStillAfterTheCoordinatorsRestart_MayBeInTheNextAttempt()
    {
        await using var gang = await StartAsync(isRunning: true);
        var attempt = gang.Starts[0].AttemptId;
        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();
        using var first = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w1", 2, attempt);
        using var second = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, attempt);

        await second.DoesNotHearAsync(gang.Starts[1], isLost: true, 0);
        foreach (var worker in new[] { first, second })
        {
            await worker.ExpectStopAsync();
            await worker.StoppedAsync(attempt);
        }

        foreach (var worker in new[] { first, second })
            Assert.AreEqual(2, (await worker.ExpectStartAsync()).Attempt);
    }

    [TestMethod]
    public async Task Silence_ThatEndsAnAttemptWhileTheCoordinatorRestarts_IsStillTheReason()
    {
        await using var gang = await StartAsync(isRunning: true);
        await gang.Workers[0].DoesNotHearAsync(gang.Starts[0], isLost: true, 1);
        foreach (var worker in gang.Workers)
            await worker.ExpectStopAsync();
        await gang.Workers[0].StoppedAsync(gang.Starts[0].AttemptId);
        await Eventually.WorkerIsAsync(gang.Coordinator, "ready");
        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();

        using var second = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, gang.Starts[1].AttemptId);
        await second.StoppedAsync(gang.Starts[1].AttemptId);

        using var watch = new JobWatch(gang.Coordinator, gang.JobId);
        StringAssert.StartsWith((await watch.UntilAsync(JobState.Recovering, "Attempt 2 follows")).State.Reason, "Worker \"host-w1\" has heard nothing of worker \"host-w2\"");
    }

    [TestMethod]
    public async Task Gang_OfWhichOneIsBackAfterTheCoordinatorsRestart_IsNotRunningYet()
    {
        await using var gang = await StartAsync(isRunning: true);
        var attempt = gang.Starts[0].AttemptId;
        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();

        using var first = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w1", 2, attempt);
        await first.StartedAsync(gang.Starts[0]); // agents say it again
        await first.BeatAsync(gang.Coordinator);

        Assert.AreEqual(JobState.Recovering, (await gang.JobAsync()).State);
        using var second = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, attempt);
        var job = await Eventually.UntilAsync(gang.Coordinator, gang.JobAsync, j => j.State == JobState.Running);
        Assert.AreEqual("worker \"host-w1\" and \"host-w2\" are back and kept training", job.Reason);
    }

    [TestMethod]
    [DataRow("w1", DisplayName = "The one that went on")]
    [DataRow("w2", DisplayName = "The one that was kept from gangs")]
    public async Task Tie_OfAWorkerThatAnOperatorUncordons_IsOver(string id)
    {
        await using var gang = await StartAsync();
        await TieAsync(gang.Workers, gang.Starts);
        await gang.Watch.UntilAsync(JobState.Recovering);

        await gang.Coordinator.Administration.UncordonWorkerAsync(new UncordonWorkerRequest { WorkerId = id }).ResponseAsync.Within();

        var cluster = await gang.Coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
        Assert.IsTrue(cluster.Workers.All(w => w.Network.Fault.Length == 0));
    }

    [TestMethod]
    public async Task Network_ThatLosesTheirWordsInTheLastAttempt_IsInTheFailuresReason()
    {
        await using var gang = await StartAsync(isRunning: true, maxAttempts: 1);

        await gang.Workers[1].DoesNotHearAsync(gang.Starts[1], isLost: true, 0);
        await gang.Workers[0].DoesNotHearAsync(gang.Starts[0], isLost: false, 1);
        for (var i = 0; i < 2; i++)
        {
            await gang.Workers[i].ExpectStopAsync();
            await gang.Workers[i].StoppedAsync(gang.Starts[i].AttemptId);
        }

        var end = (await gang.Watch.ToEndAsync()).State;
        Assert.AreEqual(JobState.Failed, end.State);
        StringAssert.EndsWith(end.Reason, "For 1 min worker \"host-w2\" gets no job over several workers, as it may be at fault, or \"host-w1\": it counts for nobody until a gang with others decides it.");
    }

    [TestMethod]
    public async Task Silence_OfAWorkerThatThenTellsOfACrash_IsTheCrash()
    {
        await using var gang = await StartAsync(isRunning: true);

        await gang.Workers[0].DoesNotHearAsync(gang.Starts[0], isLost: true, 1);
        await gang.Workers[0].ExpectStopAsync();
        await gang.Workers[0].FailAsBystanderAsync(gang.Starts[0], "Rank 0 was stopped because rank 0 aborted.");
        await gang.Workers[1].ExpectStopAsync();
        await gang.Workers[1].FailAsync(gang.Starts[1], FailureKind.Crashed, message: "Rank 3 was killed.");

        StringAssert.StartsWith((await gang.Watch.UntilAsync(JobState.Recovering)).State.Reason, "Rank 3 was killed.");
    }

    [TestMethod]
    public async Task Cancel_WaitsForAllWorkers()
    {
        await using var gang = await StartAsync(isRunning: true);
        var cancelling = gang.Coordinator.Jobs.CancelJobAsync(new CancelJobRequest { JobId = gang.JobId, Reason = "enough" }).ResponseAsync;

        for (var i = 0; i < 2; i++)
        {
            await gang.Workers[i].ExpectStopAsync();
            await gang.Workers[i].StoppedAsync(gang.Starts[i].AttemptId);
        }

        Assert.AreEqual(JobState.Cancelled, (await cancelling.Within()).State);
        Assert.AreEqual("enough", (await gang.JobAsync()).Reason);
    }

    [TestMethod]
    public async Task Coordinator_RestartedBeforeAndAfterTheBegin_GoesOnWithBoth()
    {
        await using var gang = await StartAsync();
        var attempt = gang.Starts[0].AttemptId;
        await gang.Workers[0].ReadyAsync(gang.Starts[0]);

        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();
        using var first = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w1", 2, attempt);
        StringAssert.Contains((await gang.JobAsync()).Reason, "waits for worker \"host-w1\" and \"host-w2\"");
        using var second = await FakeWorker.ConnectToMeetAsync(gang.Coordinator, "w2", 2, attempt);
        Assert.AreEqual((JobState.Placing, "worker \"host-w1\" and \"host-w2\" are back and kept what they have prepared"), (await gang.JobAsync()) is var back ? (back.State, back.Reason) : default);
        await second.ReadyAsync(gang.Starts[1]);
        await first.ReadyAsync(gang.Starts[0]); // agents say it again
        await first.ExpectBeginAsync();
        await second.ExpectBeginAsync();
        await first.StartedAsync(gang.Starts[0]);
        await second.StartedAsync(gang.Starts[1]);
        await Eventually.UntilAsync(gang.Coordinator, gang.JobAsync, j => j.State == JobState.Running);
        // One has failed as a bystander, and the coordinator ends before it hears why.
        await first.FailAsBystanderAsync(gang.Starts[0], "Rank 0 waited for rank 2.");
        await second.ExpectStopAsync();
        await gang.Coordinator.StopServerAsync();
        await gang.Coordinator.StartServerAsync();

        var job = await Eventually.AdvanceUntilAsync(gang.Coordinator, TimeSpan.FromSeconds(1), gang.JobAsync, j => j.Attempt == 2);
        Assert.AreEqual(JobState.Recovering, job.State);
    }

    private static async Task<Gang> StartAsync(bool isRunning = false, int maxAttempts = 3)
    {
        var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]); // workers may come
        await Specs.AddDatasetAsync(coordinator);
        FakeWorker[] workers = [await FakeWorker.ConnectToMeetAsync(coordinator, "w1"), await FakeWorker.ConnectToMeetAsync(coordinator, "w2")];
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.Resources, s.MaxAttempts) = (new ResourceSpec { MinRanks = 4, MaxRanks = 4, Placement = Placement.Pack }, maxAttempts)));
        var gang = new Gang(coordinator, workers, jobId, [await workers[0].ExpectStartAsync(), await workers[1].ExpectStartAsync()], new JobWatch(coordinator, jobId));
        if (!isRunning)
            return gang;
        for (var i = 0; i < 2; i++)
            await workers[i].ReadyAsync(gang.Starts[i]);
        for (var i = 0; i < 2; i++)
        {
            await workers[i].ExpectBeginAsync();
            await workers[i].StartedAsync(gang.Starts[i]);
        }

        await gang.Watch.UntilAsync(JobState.Running);
        return gang;
    }

    private sealed record Gang(TestCoordinator Coordinator, FakeWorker[] Workers, string JobId, StartAttempt[] Starts, JobWatch Watch) : IAsyncDisposable
    {
        public async Task<JobSnapshot> JobAsync() => await Coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = JobId }).Within();

        public async ValueTask DisposeAsync()
        {
            Watch.Dispose();
            foreach (var worker in Workers)
                worker.Dispose();
            await Coordinator.DisposeAsync();
        }
    }
}
