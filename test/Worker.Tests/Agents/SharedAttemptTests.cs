using Google.Protobuf;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using Worker.Tests.Fakes;

namespace Worker.Tests.Agents;

/// <summary>An agent with a part of an attempt, ranks 2 and 3 of 4; the coordinator, and the other worker through it, are the test.</summary>
[TestClass]
public sealed class SharedAttemptTests
{
    [ClassInitialize]
    public static void Initialize(TestContext context)
    {
        if (MpiWorld.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
    }

    [TestMethod]
    public async Task Part_LooksFirstWhetherTheOthersAreReachedAndItsRanksSpeakAfterIt()
    {
        await using var fixture = await StartAsync(check: (start, workers, stop) =>
        {
            Assert.AreEqual(("lo", "127.0.0.1", 7300, 7399, 2), (start.NetworkInterface, start.NetworkAddress, start.FirstNetworkPort, start.LastNetworkPort, start.Rank));
            Assert.AreEqual("here other", string.Join(' ', workers.AllGather("here", stop)));
        });
        await fixture.StartPartAsync("p1", "wait | wait | gather | progress");

        Assert.AreEqual((0, "here"), await GatherAsync("other"));
        await ReadyAsync(fixture, "p1");
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });
        Assert.AreEqual((1, "rank2"), await GatherAsync("rank0"));
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Finished, (await fixture.EndOfAsync("p1")).OutcomeCase);

        async Task<(int, string)> GatherAsync(string other)
        {
            var gather = await fixture.Coordinator.HearAsync(m => m.Gather);
            fixture.Coordinator.Send(new WorkerCommand { Gathered = new Gathered { AttemptId = "p1", Round = gather.Round, Texts = { gather.Text, ByteString.CopyFromUtf8(other) } } });
            return (gather.Round, gather.Text.ToStringUtf8());
        }
    }

    [TestMethod, DataRow(true), DataRow(false)]
    public async Task Part_WhoseWorkersDoNotReachOneAnother_EndsBeforeItFetchesAnything(bool isOwn)
    {
        await using var fixture = await StartAsync(check: (_, workers, _) =>
        {
            workers.TellUnheard([new SilentPeer(0, TimeSpan.FromSeconds(5), "10.0.0.1:7300") { IsConnection = true }], isLost: true);
            throw isOwn ? new HostNetworkException("No port is free.") : new CollectiveTimeoutException("The other is not reached.");
        });
        await fixture.StartPartAsync("p1", "wait | wait | progress | progress", isStored: false);

        Assert.AreEqual(new UnheardWorker { Seconds = 5, Address = "10.0.0.1:7300", IsConnection = true }, (await fixture.Coordinator.HearAsync(m => m.Unheard)).Workers.Single());
        var ended = await fixture.EndOfAsync("p1");
        // Of data that the coordinator does not have, the first byte that is asked for is another failure.
        Assert.AreEqual((FailureKind.WorkerLost, !isOwn, isOwn ? "No port is free." : "The other is not reached."), (ended.Failure.Kind, ended.IsBystander, ended.Failure.Message));
    }

    [TestMethod]
    public async Task Part_BeginsWhenToldMeetsTheOthersAndRenewsItsSpeaker()
    {
        await using var fixture = await StartAsync();
        await fixture.StartPartAsync("p1", "wait | wait | gather | progress");
        await ReadyAsync(fixture, "p1");
        var before = fixture.RankProcesses();
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });

        var gather = await fixture.Coordinator.HearAsync(m => m.Gather);
        Assert.AreEqual(("p1", 0, "rank2"), (gather.AttemptId, gather.Round, gather.Text.ToStringUtf8()));
        foreach (var round in new[] { 7, 0 }) // what is of another round is none of its business
            fixture.Coordinator.Send(new WorkerCommand { Gathered = new Gathered { AttemptId = "p1", Round = round, Texts = { ByteString.CopyFromUtf8($"rank{round}"), gather.Text } } });
        Assert.AreEqual("all: rank0 rank2", (await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.Log)).Message);

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Finished, (await fixture.EndOfAsync("p1")).OutcomeCase);
        // The one that spoke for the worker was in an MPI world, and is another now.
        await fixture.StartAttemptAsync("p2", "progress", ranks: 2);
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Result, (await fixture.EndOfAsync("p2")).OutcomeCase);
        Assert.HasCount(1, before.Intersect(fixture.RankProcesses()).ToList());
    }

    [TestMethod]
    public async Task Agent_WithoutRank0ThatLeavesWithGrace_StaysUntilTheAttemptEnds()
    {
        await using var fixture = await StartAsync(TimeSpan.FromMinutes(1));
        await fixture.StartPartAsync("p1", "wait | wait | wait");
        await ReadyAsync(fixture, "p1");
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });
        await fixture.StartedAsync("p1");

        var leaving = fixture.StopAgentAsync();
        await fixture.Coordinator.HearAsync(m => m.Heartbeat?.Devices.All(d => d.Fault == "its worker leaves") == true ? m : null);
        Assert.IsFalse(leaving.IsCompleted);
        fixture.StopAttempt("p1");

        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("p1")).OutcomeCase, "It did not wait for the attempt's end.");
        await leaving;
    }

    // Stopped because of another worker, or by the death of its own rank; kept as long as the job goes on.
    [TestMethod, DataRow(false), DataRow(true)]
    public async Task State_ThatRanksLeave_IsWhatTheJobsNextAttemptHereBeginsWith(bool dies)
    {
        await using var fixture = await StartAsync();
        await BeginAsync("p1", $"wait | wait | commit9 wait | commit9 {(dies ? "exit" : "wait")}", began: 0);
        if (!dies)
            fixture.StopAttempt("p1", jobGoesOn: true);
        var ended = await fixture.EndOfAsync("p1");
        Assert.AreEqual((dies, 9L), (ended.Failure is not null, dies ? ended.Failure!.KeptStep : ended.Stopped.KeptStep));

        await BeginAsync("p2", "wait | wait | kept wait | kept wait", began: 9);
        fixture.StopAttempt("p2");
        Assert.AreEqual(0L, (await fixture.EndOfAsync("p2")).Stopped.KeptStep);
        await BeginAsync("p3", "wait | wait | kept wait | kept wait", began: 0);

        async Task BeginAsync(string attempt, string script, long began)
        {
            await fixture.StartPartAsync(attempt, script);
            await ReadyAsync(fixture, attempt);
            fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = attempt } });
            var told = new List<string>();
            while (told.Count < 2)
                told.Add((await fixture.Coordinator.HearAsync(m => m.AttemptEvent?.AttemptId == attempt ? m.AttemptEvent.Log : null)).Message);
            CollectionAssert.AreEquivalent(new[] { $"rank 2 began with step {began}", $"rank 3 began with step {began}" }, told);
        }
    }

    [TestMethod]
    public async Task Rank_ThatDies_IsToldToTheOthersAtOnceAndByItsNumber()
    {
        await using var fixture = await StartAsync();
        await fixture.StartPartAsync("p1", "wait | wait | hang | exit");
        await ReadyAsync(fixture, "p1");
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });

        // Though the other rank does not listen, and holds up the end.
        Assert.AreEqual(3, (await fixture.Coordinator.HearAsync(m => m.Abort)).Rank);
        var ended = await fixture.EndOfAsync("p1");

        Assert.AreEqual((3, "testhost", 3, false), (ended.Failure.Rank, ended.Failure.Host, ended.Failure.ExitCode, ended.IsBystander));
        StringAssert.StartsWith(ended.Failure.Message, "Rank 3 on \"testhost\" ended with exit code 3");
    }

    [TestMethod]
    public async Task Abort_OfAnotherWorkersRank_ReachesTheSpeakerWhoseEndIsABystanders()
    {
        await using var fixture = await StartAsync();
        await fixture.StartPartAsync("p1", "wait | wait | aborted | wait");
        await ReadyAsync(fixture, "p1");
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });
        await fixture.StartedAsync("p1");

        fixture.Coordinator.Send(new WorkerCommand { Abort = new Abort { AttemptId = "p1", Rank = 1 } });
        var ended = await fixture.EndOfAsync("p1");

        Assert.AreEqual(("Rank 1 aborted.", true), (ended.Failure.Message, ended.IsBystander));
    }

    [TestMethod]
    public async Task Silence_OfAnotherWorker_IsToldByTheSpeakerAlone()
    {
        await using var fixture = await StartAsync();
        await fixture.StartPartAsync("p1", "wait | wait | gather unheard wait | unheard threads wait");
        await ReadyAsync(fixture, "p1");
        fixture.Coordinator.Send(new WorkerCommand { BeginAttempt = new BeginAttempt { AttemptId = "p1" } });

        // What rank 3 says after has come.
        await fixture.Coordinator.HearAsync(m => m.Unheard is null ? m.AttemptEvent?.Log : throw new AssertFailedException("Rank 3 speaks for nobody."));
        fixture.Coordinator.Send(new WorkerCommand { Gathered = new Gathered { AttemptId = "p1", Texts = { ByteString.CopyFromUtf8("rank0"), ByteString.CopyFromUtf8("rank2") } } });
        var unheard = await fixture.Coordinator.HearAsync(m => m.Unheard);
        Assert.AreEqual(("p1", true, new UnheardWorker { Seconds = 5, Address = "10.0.0.1:7300" }), (unheard.AttemptId, unheard.IsLost, unheard.Workers.Single()));
        fixture.StopAttempt("p1");
        Assert.AreEqual(AttemptEnded.OutcomeOneofCase.Stopped, (await fixture.EndOfAsync("p1")).OutcomeCase);
    }

    [TestMethod]
    public async Task Part_OnAWorkerWithoutNetwork_IsRefused()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.StartAgent();
        Assert.IsNull((await fixture.Coordinator.HearAsync(m => m.Hello)).Network);
        await fixture.StartPartAsync("p1", "progress");

        StringAssert.EndsWith((await fixture.EndOfAsync("p1")).Failure.Message, "its ranks meet no others: it was started without --network.");
    }

    [TestMethod]
    public async Task Hello_TellsTheNetworkTheMpiAndTheBuild()
    {
        await using var fixture = await AgentFixture.CreateAsync();
        fixture.StartAgent(network: "127.0.0.0/8");

        var hello = await fixture.Coordinator.HearAsync(m => m.Hello);

        Assert.AreEqual(("lo", "127.0.0.1", ""), (hello.Network.Interface, hello.Network.Address, hello.Network.Fault));
        StringAssert.Contains(hello.Network.Mpi, "MPICH");
        Assert.AreNotEqual("", hello.Build);
        Assert.AreEqual(hello.Network, (await fixture.Coordinator.HearAsync(m => m.Heartbeat)).Network);
    }

    private static Task ReadyAsync(AgentFixture fixture, string attemptId) => fixture.Coordinator.HearAsync(m => m.AttemptReady?.AttemptId == attemptId ? m.AttemptReady : null);

    private static async Task<AgentFixture> StartAsync(TimeSpan grace = default, Action<RankStart, IRendezvous, CancellationToken>? check = null)
    {
        var fixture = await AgentFixture.CreateAsync();
        (fixture.LeaveGrace, fixture.CheckPeers) = (grace, check ?? fixture.CheckPeers);
        fixture.StartAgent(network: "lo");
        await fixture.Coordinator.HearAsync(m => m.Hello);
        return fixture;
    }
}
