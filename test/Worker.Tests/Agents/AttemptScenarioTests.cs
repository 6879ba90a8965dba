using System.Security.Cryptography;
using System.Text;
using Grpc.Core;
using MLDistributed.Protocol;
using Worker.Tests.Fakes;

namespace Worker.Tests.Agents;

/// <summary>An agent with real rank processes, from the coordinator's side of the wire.</summary>
[TestClass]
public sealed class AttemptScenarioTests
{
    [TestMethod]
    public async Task Attempt_AllGoesWell_EndsWithUploadedArtifacts()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("a1", "progress threads | progress");

        await fixture.StartedAsync("a1");
        await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Progress is { Step: 1 } p ? p : null);
        var ended = await fixture.EndOfAsync("a1");

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, ended.OutcomeCase, ended.ToString());
        Assert.AreEqual(2, ended.Result.WorldSize);
        var model = Encoding.UTF8.GetString(fixture.Coordinator.Artifacts[ended.Result.Artifacts[ArtifactName.Onnx].Id]);
        StringAssert.StartsWith(model, "model from ");
        Assert.IsEmpty(Segments("a1"));
    }

    [TestMethod]
    public async Task Attempt_AfterAnother_RunsInTheSameProcesses()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("b1", "progress", ranks: 1);
        var first = await fixture.EndOfAsync("b1");
        await fixture.StartAttemptAsync("b2", "progress", ranks: 1);
        var second = await fixture.EndOfAsync("b2");

        // The scripted training gives its process id as the loss.
        Assert.AreEqual(first.Result.TrainingLoss, second.Result.TrainingLoss);
    }

    [TestMethod]
    public async Task Rank_NamingAFileOfAnotherFolder_FailsTheAttempt()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("s1", "steal", ranks: 1);

        var failure = (await fixture.EndOfAsync("s1")).Failure;

        StringAssert.Contains(failure.Message, "as a result, expected a file in its output folder");
        Assert.IsEmpty(fixture.Coordinator.Artifacts);
    }

    [TestMethod]
    public async Task Rank_ThatShouts_IsHeardAsFarAsMessagesGo()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("s2", "shout", ranks: 1);

        foreach (var letter in "xy")
            Assert.AreEqual(WireLimits.MaxSentence, (await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log is { } log && log.Message.StartsWith(letter) ? log : null)).Message.Length);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("s2")).OutcomeCase);
    }

    [TestMethod]
    public async Task Rank_Killed_IsNamedWithSignalAndOthersStop()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("c1", "complain wait | complain wait");
        // Both have complained: whichever is killed has last words.
        for (var complaints = 0; complaints < 2; complaints++)
            await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log is { } log && log.Message.Contains("c10::Error", StringComparison.Ordinal) ? log : null);
        var victim = fixture.RankProcesses()[0];
        Processes.Kill(victim);
        var failure = (await fixture.EndOfAsync("c1")).Failure;

        Assert.AreEqual(FailureKind.Crashed, failure.Kind);
        Assert.AreEqual(137, failure.ExitCode);
        Assert.AreEqual("testhost", failure.Host);
        StringAssert.Contains(failure.Message, "was killed by signal 9 (SIGKILL)");
        StringAssert.Contains(failure.LastWords[^1], "c10::Error");

        // The slot has a new process, the other its old one.
        await fixture.StartAttemptAsync("c2", "progress");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("c2")).OutcomeCase);
        Assert.DoesNotContain(victim, fixture.RankProcesses());
    }

    [TestMethod]
    [DataRow("wait | exit", FailureKind.Crashed, 1, "ended with exit code 3")]
    [DataRow("nan | wait", FailureKind.Training, 0, "The loss is NaN at step 7.")]
    [DataRow("bystander | exit", FailureKind.Crashed, 1, "ended with exit code 3")]
    [DataRow("throw | wait", FailureKind.Training, 0, "NotSupportedException: no such layer")]
    public async Task Rank_Fails_FirstRealFailureIsReported(string script, FailureKind kind, int rank, string message)
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync($"d1-{kind}-{rank}-{script[0]}", script);
        var failure = (await fixture.EndOfAsync($"d1-{kind}-{rank}-{script[0]}")).Failure;

        Assert.AreEqual(kind, failure.Kind, failure.Message);
        Assert.AreEqual(rank, failure.Rank);
        StringAssert.Contains(failure.Message, message);
    }

    [TestMethod]
    [DataRow("step7 exit | wait", 0, 7L, DisplayName = "rank 0")]
    [DataRow("step7 wait | step7 step8 exit", 1, 8L, DisplayName = "its own, not that of rank 0")]
    [DataRow("progress exit | wait", 0, 0L, DisplayName = "before any")]
    public async Task Rank_Dies_FailureHasTheStepThatItHadBegun(string script, int rank, long step)
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync($"step-{step}", script);
        var failure = (await fixture.EndOfAsync($"step-{step}")).Failure;

        Assert.AreEqual((FailureKind.Crashed, rank, step, 3), (failure.Kind, failure.Rank, failure.Step, failure.ExitCode), failure.ToString());
    }

    [TestMethod]
    public async Task Stop_RanksListen_EndsStoppedAndKeepsProcesses()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("e1", "wait");
        await fixture.StartedAsync("e1");
        var processes = fixture.RankProcesses();
        fixture.StopAttempt("e1");

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("e1")).OutcomeCase);
        CollectionAssert.AreEquivalent(processes.ToList(), fixture.RankProcesses().ToList());
    }

    [TestMethod]
    public async Task Stop_RankHangs_IsKilledAndReplaced()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("f1", "wait | hang");
        await fixture.StartedAsync("f1");
        fixture.StopAttempt("f1");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("f1")).OutcomeCase);
        Assert.IsEmpty(Segments("f1"));

        await fixture.StartAttemptAsync("f2", "progress");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("f2")).OutcomeCase);
    }

    [TestMethod]
    public async Task Stop_UnknownAttempt_IsConfirmed()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.StopAttempt("never-started");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("never-started")).OutcomeCase);
    }

    [TestMethod]
    public async Task Checkpoint_Written_IsStoredAndResumedFrom()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("g1", "checkpoint exit", ranks: 1);
        var saved = await fixture.Coordinator.HearAsync(m => m.CheckpointSaved);
        Assert.AreEqual(10, saved.Step);
        Assert.AreEqual(FailureKind.Crashed, (await fixture.EndOfAsync("g1")).Failure.Kind);

        await fixture.StartAttemptAsync("g2", "resumed", ranks: 1, resumeFrom: saved.Artifact);
        var log = await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log);
        Assert.AreEqual("resumed from checkpoint", log.Message);
        Assert.AreEqual("rank 0", log.Source);
    }

    [TestMethod]
    public async Task Checkpoint_RefusedByAFullStore_IsTheAppsToKnowAndTrainingGoesOn()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.Coordinator.UploadRefusal = new Status(StatusCode.ResourceExhausted, "the disk is full");
        await fixture.StartAttemptAsync("full-1", "checkpoint wait", ranks: 1);

        var log = await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log);

        Assert.AreEqual(LogLevel.Warning, log.Level);
        StringAssert.Contains(log.Message, "The checkpoint of step 10 was not stored");
        StringAssert.Contains(log.Message, "the disk is full");
        fixture.StopAttempt("full-1");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("full-1")).OutcomeCase);
    }

    [TestMethod]
    public async Task Files_RefusedForTheMoment_ComeAndGoAgain()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.Coordinator.Crowded = 2;
        await fixture.StartAttemptAsync("crowded", "progress", ranks: 1);

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("crowded")).OutcomeCase);
        Assert.IsLessThan(0, fixture.Coordinator.Crowded);
    }

    [TestMethod]
    [DataRow(StatusCode.ResourceExhausted, "the disk is full")]
    [DataRow(StatusCode.Unknown, "Exception was thrown by handler.")]
    public async Task Result_RefusedByTheStore_FailsWithItsWordsAndIsNotTriedForEver(StatusCode code, string words)
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.Coordinator.UploadRefusal = new Status(code, words);
        await fixture.StartAttemptAsync($"refused-{code}", "progress", ranks: 1);

        var failure = (await fixture.EndOfAsync($"refused-{code}")).Failure;

        StringAssert.Contains(failure.Message, $"The results on \"testhost\" could not be stored: Upload of \"model.onnx\" is refused by the coordinator: {words}");
    }

    [TestMethod]
    [DataRow(true, DisplayName = "other content")]
    [DataRow(false, DisplayName = "gone")]
    public async Task Checkpoint_WithOtherContentOrGone_FailsAsDamaged(bool isThere)
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        var id = Convert.ToHexStringLower(SHA256.HashData("one"u8));
        if (isThere)
            fixture.Coordinator.Artifacts[id] = "another"u8.ToArray();
        await fixture.StartAttemptAsync("h1", "progress", ranks: 1, resumeFrom: new Artifact { Id = id });
        var failure = (await fixture.EndOfAsync("h1")).Failure;

        Assert.AreEqual(FailureKind.CheckpointDamaged, failure.Kind);
        StringAssert.Contains(failure.Message, id);
    }

    // Memory has step 9: what is newer in the store is gone on from, unless it is damaged, and what is as old is not fetched.
    [TestMethod]
    [DataRow(12L, 9L, DisplayName = "a checkpoint as old comes next")]
    [DataRow(12L, 5L, DisplayName = "an older one does")]
    [DataRow(12L, 0L, DisplayName = "none does")]
    public async Task Checkpoint_DamagedAndNewerThanMemory_LeavesTheMemoryToTheNextAttempt(long damaged, long before)
    {
        await using var fixture = await AgentFixture.StartAsync();
        var nowhere = new Artifact { Id = new string('0', 64) };
        await fixture.StartAttemptAsync("m1", "commit9 wait");
        await HearAsync("rank 0 began with step 0", "rank 1 began with step 0");
        Processes.Kill(fixture.RankProcesses()[1]);
        Assert.AreEqual((FailureKind.Crashed, 9L), await EndAsync("m1"));

        await fixture.StartAttemptAsync("m2", "kept", resumeFrom: nowhere, resumeStep: damaged);
        Assert.AreEqual((FailureKind.CheckpointDamaged, 9L), await EndAsync("m2"));

        await fixture.StartAttemptAsync("m3", "kept wait", resumeFrom: before > 0 ? nowhere : null, resumeStep: before);
        await HearAsync("rank 0 began with step 9", "rank 1 began with step 9");
        fixture.StopAttempt("m3");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("m3")).OutcomeCase);

        async Task<(FailureKind, long)> EndAsync(string attempt) => (await fixture.EndOfAsync(attempt)).Failure is var failure ? (failure.Kind, failure.KeptStep) : default;

        async Task HearAsync(params string[] expected)
        {
            var told = new List<string>();
            while (told.Count < expected.Length)
                told.Add(await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log is { } log && log.Message.StartsWith("rank", StringComparison.Ordinal) ? log.Message : null));
            CollectionAssert.AreEquivalent(expected, told);
        }
    }

    // Step 10 is on its way to the store when a rank dies; memory has step 9 of it.
    [TestMethod]
    public async Task Checkpoint_OnItsWayAndNewerThanMemory_IsStoredBeforeTheAttemptEnds()
    {
        await using var fixture = await AgentFixture.StartAsync();
        await fixture.StartAttemptAsync("n1", "commit9 checkpoint exit | commit9 wait");

        Assert.AreEqual(10, (await fixture.Coordinator.HearAsync(m => m.AttemptEnded is null ? m.CheckpointSaved : throw new AssertFailedException("The attempt ended first."))).Step);
        Assert.AreEqual(9, (await fixture.EndOfAsync("n1")).Failure.KeptStep);
    }

    [TestMethod]
    [DataRow(false, "started from weights"), DataRow(true, "started from nothing")]
    public async Task StartingModel_OfANewAttempt_IsThereUnlessACheckpointIs(bool hasCheckpoint, string expected)
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        var (model, checkpoint) = (Add("weights"u8.ToArray()), Add("checkpoint"u8.ToArray()));
        fixture.StartAttempt("w1", "started", await fixture.AddDatasetAsync(), ranks: 1, hasCheckpoint ? new Artifact { Id = checkpoint } : null, new StartingModel { ModelId = model });

        Assert.AreEqual(expected, (await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log)).Message);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("w1")).OutcomeCase);

        string Add(byte[] content)
        {
            var id = Convert.ToHexStringLower(SHA256.HashData(content));
            fixture.Coordinator.Artifacts[id] = content;
            return id;
        }
    }

    [TestMethod]
    public async Task StartingModel_NotInTheStore_FailsAsLost()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        fixture.StartAttempt("w2", "started", await fixture.AddDatasetAsync(), ranks: 1, startFrom: new StartingModel { ModelId = new string('0', 64) });

        Assert.AreEqual(FailureKind.DatasetLost, (await fixture.EndOfAsync("w2")).Failure.Kind);
    }

    [TestMethod]
    public async Task Start_SlotTakenOrUnknown_IsRefusedWithReason()
    {
        await using var fixture = await AgentFixture.StartAsync(slots: 1);
        await fixture.StartAttemptAsync("i1", "wait", ranks: 1);
        await fixture.StartedAsync("i1");
        await fixture.StartAttemptAsync("i2", "wait", ranks: 1);
        StringAssert.Contains((await fixture.EndOfAsync("i2")).Failure.Message, "Slot 0 of worker \"testhost\" is taken");
        await fixture.StartAttemptAsync("i3", "wait", ranks: 2);
        StringAssert.Contains((await fixture.EndOfAsync("i3")).Failure.Message, "slots [0, 1]");
    }

    private static string[] Segments(string attemptId) => Directory.Exists("/dev/shm") ? Directory.GetFiles("/dev/shm", $"mldist-{attemptId}*") : [];
}
