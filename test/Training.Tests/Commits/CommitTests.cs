using System.Collections.Concurrent;
using System.Text;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using Training.Tests.Loop;

namespace Training.Tests.Commits;

/// <summary>The newest state in the agent's memory, from which a rank's death is gone on from.</summary>
[TestClass]
public sealed class CommitTests
{
    private const int Rows = 300;

    [TestMethod]
    [DataRow(0.0, 0.5, DisplayName = "free")]
    [DataRow(0.001, 0.5, DisplayName = "cheap")]
    [DataRow(0.1, 5.0, DisplayName = "a large model")]
    [DataRow(2.0, 100.0, DisplayName = "a very large one")]
    public void Interval_IsFiftyTimesTheCost(double costSeconds, double seconds) =>
        Assert.AreEqual(seconds, CommitInterval.After(TimeSpan.FromSeconds(costSeconds)).TotalSeconds, 1e-9);

    [TestMethod]
    public void File_KilledInTheMiddleOfAWrite_HasTheOneBefore()
    {
        using var file = Create();
        Assert.AreEqual(0, file.NewestStep());
        foreach (var (step, half) in new[] { (5L, 0), (9_000L, 1), (12_000_000_000L, 0) })
        {
            // Two ranks; each of these points is one at which all may be killed.
            var before = file.NewestStep();
            file.Begin(half, 0);
            Assert.AreEqual(before, file.NewestStep());
            file.Begin(half, 1);
            file.End(half, 1, Commit.WordOf(7, 2 * step));
            file.Describe(new Commit(half, 2 * step, step, WorldSize: 2, BestPlace: -1, Attempt: 7, $"step {step}"), CommitFile.DataAt + half * 1000);
            Assert.AreEqual(before, file.NewestStep());
            file.End(half, 0, Commit.WordOf(7, 2 * step));
            Assert.AreEqual((step, $"step {step}"), (file.NewestStep(), file.Newest()!.Metadata));
        }

        // Of fewer ranks than before: those that are not there any more do not count.
        file.Begin(1, 0);
        file.Describe(new Commit(1, 30_000_000_000, 15_000_000_000, WorldSize: 1, BestPlace: -1, ulong.MaxValue, "alone"), CommitFile.DataAt + 1000);
        file.End(1, 0, Commit.WordOf(ulong.MaxValue, 30_000_000_000));
        Assert.AreEqual((15_000_000_000, ulong.MaxValue), (file.NewestStep(), file.Newest()!.Attempt));

        file.Write(CommitFile.DataAt + 1000, Encoding.UTF8.GetBytes("A"));
        Assert.AreEqual(12_000_000_000, file.NewestStep(), "A damaged description is none.");
    }

    // Attempt 2 comes to the step whose commit attempt 1 has left torn, and is killed in the middle too.
    [TestMethod]
    [DataRow(2, "0", "1", DisplayName = "the same number of ranks")]
    [DataRow(2, "0", "1 2", DisplayName = "more")]
    [DataRow(3, "0 1", "2", DisplayName = "as many, of which the last is done")]
    [DataRow(3, "0 2", "1", DisplayName = "fewer")]
    public void Half_TornByTwoAttempts_IsNotWhole(int worldSize, string first, string then)
    {
        using var file = Create();
        foreach (var (attempt, ranks) in new[] { (1UL, first), (2UL, then) })
        {
            foreach (var rank in Enumerable.Range(0, worldSize))
                if (attempt == 1 || ranks.Contains($"{rank}", StringComparison.Ordinal))
                    file.Begin(0, rank);
            if (attempt == 1)
                file.Describe(new Commit(0, 20, 10, worldSize, BestPlace: -1, attempt, "step 10"), CommitFile.DataAt);
            foreach (var rank in ranks.Split(' ').Select(int.Parse))
                file.End(0, rank, Commit.WordOf(attempt, 20));
            Assert.AreEqual(0, file.NewestStep());
        }
    }

    [TestMethod]
    public void File_OpenedByItsPath_IsTheSameAndHasNoName()
    {
        using var file = Create();
        using (var ranks = CommitFile.Open(file.Path))
            ranks.BeginStep(3, 7_000);

        Assert.AreEqual((7_000L, 0L), (file.StepOf(3), file.StepOf(2)));
        if (OperatingSystem.IsLinux())
            Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file.Path));
        StringAssert.Contains(File.ResolveLinkTarget(file.Path, returnFinalTarget: false)!.FullName, "(deleted)");
        file.ClearSteps();
        Assert.AreEqual(0L, file.StepOf(3));
    }

    [TestMethod]
    [DataRow("1 1 1 1", false)]
    [DataRow("3 3 3 3", true)]
    [DataRow("2 6 8 11", true)]
    public void Resume_FromCommits_GivesTheSameBitsAndEveryRowOnceAnEpoch(string worlds, bool hasValidation)
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        var spec = Spec(hasValidation);
        var ranks = worlds.Split(' ').Select(int.Parse).ToArray();
        var whole = Cluster.Train(spec, ranks[0], folder["data"]).ShouldSucceed();
        using var file = Create();
        var kept = new List<(long Step, long Row)>();
        var clock = new HandClock();

        // In the middle of epochs, in the first and in the last step of one.
        var stepsPerEpoch = whole.Result.Steps / spec.Epochs;
        foreach (var (world, failingStep) in ranks.Zip([5, stepsPerEpoch + 1, 2 * stepsPerEpoch, long.MaxValue]))
        {
            var start = file.NewestStep();
            var taken = new ConcurrentQueue<(long Step, long Row)>();
            var run = Cluster.Train(spec, world, folder["data"], commits: file, configure: e => e.Value with
            {
                Time = clock,
                RowTaken = (step, row) =>
                {
                    // A commit after every other step: rank 0 looks at the clock as it begins one.
                    if (e.Rank == 0)
                        clock.Advance(TimeSpan.FromSeconds(1));
                    taken.Enqueue((step, row));
                    if (step == failingStep && e.Rank == world - 1)
                        throw new InvalidOperationException("This rank is lost.");
                },
            });

            if (failingStep == long.MaxValue)
            {
                run.ShouldSucceed();
                CollectionAssert.AreEqual(whole.Weights, run.Weights);
                CollectionAssert.AreEqual(whole.Result.History.Select(h => h.ValidationLoss).ToArray(), run.Result.History.Select(h => h.ValidationLoss).ToArray());
                Assert.AreEqual(whole.Result.BestEpoch, run.Result.BestEpoch);
                kept.AddRange(taken);
                break;
            }

            Assert.AreEqual(failingStep, file.StepOf(world - 1), "It was in this step.");
            Assert.IsInRange(failingStep - 2, failingStep - 1, file.NewestStep());
            kept.AddRange(taken.Where(t => t.Step > start && t.Step <= file.NewestStep()));
        }

        var rows = Rows - (int)(hasValidation ? Rows * 0.2 : 0);
        Assert.HasCount(spec.Epochs * rows, kept);
        foreach (var epoch in kept.GroupBy(k => (k.Step - 1) / stepsPerEpoch))
            Assert.AreEqual(rows, epoch.Select(k => k.Row).Distinct().Count(), $"epoch {epoch.Key}");
    }

    [TestMethod]
    public void Commits_ThatTheMachineHasNoRoomFor_AreLeftOutWithAWarning()
    {
        using var folder = new TempFolder();
        Datasets.WriteClouds(folder["data"], Rows);
        using var file = Create();
        var clock = new HandClock();
        var needs = MLDistributed.Training.Loop.MemoryNeeds.Of(Spec(false), new MLDistributed.Training.Models.MlpSource(Spec(false).Module.Mlp, 1).Layout, 1).TotalBytes;

        var run = Cluster.Train(Spec(false), 1, folder["data"], commits: file, configure: e => e.Value with
        {
            Time = clock,
            MemoryBytes = needs + (long)BatchMemory.LeastBytes(Spec(false), Rows, 1, isOnGpu: false) + 1,
            RowTaken = (_, _) => clock.Advance(TimeSpan.FromSeconds(1)),
        }).ShouldSucceed();

        Assert.AreEqual(0, file.NewestStep());
        Assert.AreEqual(run.Result.Steps, file.StepOf(0));
        StringAssert.StartsWith(run.Recorders[0].Logs.Single().Message, "The state is not kept in memory between checkpoints: ");
    }

    private static CommitFile Create()
    {
        if (CommitFile.Create(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath()) is { } file)
            return file;
        Assert.Inconclusive("Only Linux has files without names that other processes can open.");
        return null!;
    }

    private static JobSpec Spec(bool hasValidation) => Cluster.Spec(s =>
    {
        s.Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 0, MinIntervalSeconds = 1e9 };
        s.BitExact = new BitExactSpec { MicroBatches = 8 };
        s.Data.RowCount = 0;
        s.Data.ValidationFraction = hasValidation ? 0.2 : 0;
        s.Module.Mlp.Dropout = 0.1;
    });
}
