using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Loop;
using Training.Tests.Loop;

namespace Training.Tests.Commits;

/// <summary>Commits of ranks on several hosts, each with an agent's memory of its own, and attempts on what is left of them.</summary>
[TestClass]
public sealed class HostCommitTests
{
    private const int Rows = 300;
    private const int FailingStep = 7;
    private const string EveryHost = "all workers have";

    private readonly Dictionary<char, CommitFile> _memories = [];
    private readonly TempFolder _folder = new();
    private int _attempts;
    private long _begun;

    [TestInitialize]
    public void Write() => Datasets.WriteClouds(_folder["data"], Rows);

    [TestCleanup]
    public void CleanUp()
    {
        foreach (var memory in _memories.Values)
            memory.Dispose();
        _folder.Dispose();
    }

    // Hosts are letters, with a rank for each: "aab" is two ranks on host a and one on b.
    [TestMethod]
    [DataRow("aabb", "aabb", EveryHost, DisplayName = "all are left")]
    [DataRow("ab", "ba", EveryHost, DisplayName = "rank 0 is on the other")]
    [DataRow("abb", "aaab", EveryHost, DisplayName = "other numbers of ranks")]
    [DataRow("aab", "aacc", "worker \"0\" has", DisplayName = "one is replaced")]
    [DataRow("ab", "cb", "worker \"1\" has", DisplayName = "the one with rank 0 is replaced")]
    [DataRow("abc", "cde", "worker \"0\" has", DisplayName = "one of three is left")]
    [DataRow("ab", "bb", null, DisplayName = "one is left, and no other comes")]
    [DataRow("aa", "ab", "worker \"0\" has", DisplayName = "one host, then two")]
    public void Resume_OnWhatIsLeft_GoesOnFromMemoryToTheSameBits(string first, string then, string? from)
    {
        var whole = Train("a", _ => { }, Lost.Nobody).ShouldSucceed();
        Forget();

        Assert.IsTrue(Train(first, _ => { }, Lost.LastRank).Failures.All(f => f is not null));
        var kept = then.Distinct().Where(_memories.ContainsKey).Max(h => _memories[h].NewestStep());
        Assert.IsInRange(FailingStep - 2L, FailingStep - 1L, kept);
        ShouldGoOn(Train(then, _ => { }, Lost.Nobody), whole, kept, from, told: first.Distinct().Count() > 1 ? 1 : kept + 1);
        foreach (var host in then.Distinct())
            Assert.IsGreaterThan(kept, _memories[host].NewestStep(), $"Host {host} has the new attempt's.");
    }

    // What a kill in the middle of a commit leaves on one host.
    [TestMethod, DataRow('a', "worker \"1\" has"), DataRow('b', "worker \"0\" has")]
    public void Resume_AfterAKillInTheMiddleOfOneHostsCommit_TakesTheOthers(char killed, string from)
    {
        var whole = Train("a", _ => { }, Lost.Nobody).ShouldSucceed();
        Forget();
        Train("aab", _ => { }, Lost.LastRank);
        var kept = _memories.Values.Max(m => m.NewestStep());
        while (_memories[killed].NewestStep() >= kept)
            _memories[killed].Begin(_memories[killed].Newest()!.Half, 0);

        var before = _memories[killed].NewestStep();
        Assert.IsTrue(before > 0 && before < kept, "The half before is whole.");
        ShouldGoOn(Train("aab", _ => { }, Lost.Nobody), whole, kept, from);
    }

    // Attempt 2 ran without host a, from nothing, and came less far than what a still has of attempt 1.
    [TestMethod]
    public void Resume_OnHostsOfTwoAttempts_TakesOneAndMixesNone()
    {
        var whole = Train("a", _ => { }, Lost.Nobody).ShouldSucceed();
        Forget();
        Train("ab", _ => { }, Lost.LastRank);
        var ofA = _memories['a'].NewestStep();
        Train("cd", s => s.Optimizer.LearningRate = 1, Lost.LastRank); // other weights at the same steps
        Assert.AreNotEqual(_memories['a'].Newest()!.Attempt, _memories['c'].Newest()!.Attempt);

        ShouldGoOn(Train("ac", _ => { }, Lost.Nobody), whole, ofA, "worker \"0\" has");
    }

    // Whether or not rank 0's host is the one.
    [TestMethod, DataRow('a', "worker \"1\" has"), DataRow('b', "worker \"0\" has")]
    public void Commits_ThatOneHostHasNoRoomFor_AreTheOthersWhomItAsks(char small, string from)
    {
        var whole = Train("a", _ => { }, Lost.Nobody).ShouldSucceed();
        Forget();
        var roomy = small == 'a' ? 'b' : 'a';

        Train("ab", _ => { }, Lost.LastRank, Small, small);
        var kept = _memories[roomy].NewestStep();
        Assert.IsInRange(FailingStep - 2L, FailingStep - 1L, kept);
        Assert.AreEqual((0L, (long)FailingStep), (_memories[small].NewestStep(), _memories['b'].StepOf(0)), "Steps are noted by the rank's place on its host.");
        var run = Train("ab", _ => { }, Lost.Nobody, Small, small);

        var warning = run.Recorders["ab".IndexOf(small)].Logs.Single(l => l.Level == LogLevel.Warning);
        StringAssert.StartsWith(warning.Message, "The state is not kept in memory between checkpoints: ");
        run.Recorders["ab".IndexOf(small)].Logs.Remove(warning);
        ShouldGoOn(run, whole, kept, from);
        Assert.IsGreaterThan(kept, _memories[roomy].NewestStep());

        static TrainingEnvironment Small(TrainingEnvironment e) => e with { MemoryBytes = NeedsOf("ab") + 1 };
    }

    // A newer checkpoint than any commit, which the agents of all hosts have fetched.
    [TestMethod]
    public void Resume_FromACheckpointThatIsNewer_LeavesCommitsAlone()
    {
        var whole = Train("a", _ => { }, Lost.Nobody).ShouldSucceed();
        Forget();
        Train("ab", _ => { }, Lost.LastRank);
        var checkpoint = whole.Recorders[0].Checkpoints[^1];
        File.WriteAllBytes(_folder["checkpoint"], checkpoint.Content);

        var run = Train("ab", _ => { }, Lost.Nobody, resumePath: _folder["checkpoint"], resumeStep: checkpoint.Step).ShouldSucceed();

        CollectionAssert.AreEqual(whole.Weights, run.Weights);
        Assert.AreEqual(checkpoint.Step + 1, run.Recorders[0].Losses[0].Step);
        Assert.IsFalse(run.Recorders[0].Logs.Any(l => l.Message.StartsWith("goes on", StringComparison.Ordinal)));
    }

    private void ShouldGoOn(Run run, Run whole, long step, string? from, long told = 1)
    {
        run.ShouldSucceed();
        Assert.AreEqual(step + 1, _begun);
        // The host that had rank 0 may have been lost before it passed them on.
        CollectionAssert.AreEqual(Enumerable.Range((int)told, whole.Losses.Length - (int)told + 1).Select(s => (long)s).ToArray(), run.Recorders[0].Losses.Select(l => l.Step).ToArray());
        CollectionAssert.AreEqual(whole.Losses[^run.Losses.Length..], run.Losses);
        CollectionAssert.AreEqual(whole.Weights, run.Weights);
        CollectionAssert.AreEqual(whole.Result.History.Select(h => (h.TrainingLoss, h.ValidationLoss)).ToArray(), run.Result.History.Select(h => (h.TrainingLoss, h.ValidationLoss)).ToArray());
        Assert.AreEqual(whole.Result.BestEpoch, run.Result.BestEpoch);
        CollectionAssert.AreEqual(from is null ? [] : new[] { $"goes on from step {step}, which {from} in memory" }, run.Recorders.SelectMany(r => r.Logs).Select(l => l.Message).ToArray());
    }

    private enum Lost { Nobody, LastRank }

    private Run Train(string hosts, Action<JobSpec> change, Lost lost, Func<TrainingEnvironment, TrainingEnvironment>? onSmall = null, char? small = null, string? resumePath = null, long resumeStep = 0)
    {
        var names = hosts.Distinct().ToArray();
        var topology = Topology.OfCpus([.. names.Select(n => hosts.Count(h => h == n))]);
        foreach (var name in names)
            _memories.TryAdd(name, Create());
        var memories = names.Select(n => _memories[n]).ToArray();
        foreach (var memory in memories)
            memory.ClearSteps();
        // As the agents have it before a rank runs.
        var kept = memories.Select(m => m.NewestStep() is var step && step > resumeStep ? step : 0).ToArray();
        var attempt = $"attempt {++_attempts}";
        _begun = 0;
        var clock = new HandClock();
        var spec = Spec(change);
        return Cluster.Train(spec, hosts.Length, _folder["data"], resumePath, configure: e =>
        {
            var environment = e.Value with
            {
                Time = clock,
                Hosts = names.Length == 1 ? null : MemoryHosts.Places(_folder, topology),
                RowTaken = (step, _) =>
                {
                    // A commit after every other step: rank 0 looks at the clock as it begins one.
                    if (e.Rank == 0)
                        Interlocked.CompareExchange(ref _begun, step, 0);
                    if (e.Rank == 0)
                        clock.Advance(TimeSpan.FromSeconds(1));
                    if (lost == Lost.LastRank && step == FailingStep && e.Rank == hosts.Length - 1)
                        throw new InvalidOperationException("This rank is lost.");
                },
            };
            return small is not null && names[topology.HostOf(e.Rank)] == small ? onSmall!(environment) : environment;
        }, prepare: Prepare);

        void Prepare(RankStart start)
        {
            var host = topology.HostOf(start.Rank);
            (start.AttemptId, start.CommitPath, start.CommitStep) = (attempt, memories[host].Path, kept[host]);
        }
    }

    private void Forget()
    {
        foreach (var memory in _memories.Values)
            memory.Dispose();
        _memories.Clear();
    }

    private static long NeedsOf(string hosts) =>
        MemoryNeeds.Of(Spec(_ => { }), new MLDistributed.Training.Models.MlpSource(Spec(_ => { }).Module.Mlp, 1).Layout, 1, Topology.OfCpus([.. hosts.Select(_ => 1)])).TotalBytes
        + (long)BatchMemory.LeastBytes(Spec(_ => { }), Rows, hosts.Length, isOnGpu: false, localRanks: 1);

    private static CommitFile Create()
    {
        if (CommitFile.Create(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath()) is { } file)
            return file;
        Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        return null!;
    }

    // Five steps an epoch: the best weights of the first are in the commits of the second.
    private static JobSpec Spec(Action<JobSpec> change) => Cluster.Spec(s =>
    {
        s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 0, MinIntervalSeconds = 0 };
        s.BitExact = new BitExactSpec { MicroBatches = 8 };
        s.GlobalBatchSize = 48;
        s.Data.ValidationFraction = 0.2;
        s.Module.Mlp.Dropout = 0.1;
        s.Optimizer = new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-6 }, LearningRate = 3e-3, WeightDecay = 0.1, AveragingDecay = 0.8 };
        change(s);
    });
}
