using System.Collections.Concurrent;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>What workers and coordinators say reaches the app's log, its progress and its exceptions with nothing in it that draws, hides or forges.</summary>
[TestClass]
public sealed class HostileTextTests
{
    private const string Text = "x\e[2J\a\r\u009B1m\u202Egp\u2066\u2028\nFORGED\u0085\u007F\u00AD\U000E0041";

    [TestMethod]
    public async Task Fit_JobThatFails_ShowsNothingThatHides()
    {
        var failure = new JobFailure { Kind = FailureKind.Crashed, Message = Text, Rank = 1, Host = Text, LastWords = { Text } };
        await using var coordinator = await FakeCoordinator.StartAsync(new Script
        {
            Events =
            [
                new JobEvent { State = new StateChanged { State = JobState.Queued, Reason = Text } },
                new JobEvent { State = new StateChanged { State = JobState.Running, Reason = Text, WorldSize = 2 }, Attempt = 1 },
                new JobEvent { Log = new LogLine { Level = LogLevel.Info, Source = Text, Message = Text } },
                new JobEvent { State = new StateChanged { State = JobState.Recovering, Reason = Text } },
                new JobEvent { State = new StateChanged { State = JobState.Failed, Reason = Text, Failure = failure } },
            ],
        });
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        var (shown, progress) = (new ConcurrentQueue<string>(), new StringWriter());
        var ml = new MLContext(seed: 1).UseCluster(cluster);
        ml.Log += (_, e) => shown.Enqueue(e.Message);
        var trainer = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { LabelColumnName = "Value", Progress = new ConsoleProgress(progress, TimeProvider.System, () => 500, isPlain: true) });

        var error = await Assert.ThrowsExactlyAsync<TrainingFailedException>(() => Task.Run(() => trainer.Fit(ml.Data.LoadFromEnumerable(SyntheticData.Examples(30)))));

        Assert.IsTrue(shown.Any(m => m.Contains(@"x\e[2J", StringComparison.Ordinal)), "the log has the text");
        foreach (var text in shown.Append(error.Message).Append(error.ToString()).Append(error.Host!).Concat(error.LastWords).Append(progress.ToString()))
            AssertVisible(text);
    }

    [TestMethod]
    public async Task Fit_JobThatIsRefusedOrCancelled_ShowsNothingThatHides()
    {
        await using var refusing = await FakeCoordinator.StartAsync(new Script { Refusal = Text });
        await using var cancelling = await FakeCoordinator.StartAsync(new Script { Events = [new JobEvent { State = new StateChanged { State = JobState.Cancelled, Reason = Text } }] });
        foreach (var coordinator in new[] { refusing, cancelling })
        {
            using var cluster = TrainingCluster.Connect(coordinator.Address);
            var ml = new MLContext(seed: 1).UseCluster(cluster);
            var trainer = ml.Regression.Trainers.DistributedNeuralNetwork("Value");

            var error = await Assert.ThrowsAsync<Exception>(() => Task.Run(() => trainer.Fit(ml.Data.LoadFromEnumerable(SyntheticData.Examples(30)))));

            Assert.Contains(@"x\e[2J", error.Message);
            AssertVisible(error.ToString());
        }
    }

    [TestMethod]
    public void MakeVisible_MessageOfAnyDepth_LeavesKeysAndNumbersAlone()
    {
        var cluster = new ClusterSnapshot { Version = Text, QueuedJobs = 3, Workers = { new WorkerSnapshot { Host = Text, Devices = { new Device { Name = Text, Fault = Text, Slot = 7 } } } } };
        var result = new JobResult { Artifacts = { ["a\e"] = new Artifact { Id = Text, SizeBytes = 5 } } };

        cluster.MakeVisible();
        result.MakeVisible();

        foreach (var text in new[] { cluster.Version, cluster.Workers[0].Host, cluster.Workers[0].Devices[0].Name, cluster.Workers[0].Devices[0].Fault, result.Artifacts["a\e"].Id })
            Assert.AreEqual(VisibleText.Hanging(Text, "  "), text);
        Assert.AreEqual((3, 7, 5L), (cluster.QueuedJobs, cluster.Workers[0].Devices[0].Slot, result.Artifacts["a\e"].SizeBytes));
    }

    [TestMethod]
    public void MakeVisible_MegabytesOfText_AreCut()
    {
        var line = new LogLine { Message = new string('a', 5_000_000) }.MakeVisible();

        Assert.IsLessThan(70_000, line.Message.Length);
        Assert.EndsWith("aaa... (4,934,464 more characters)", line.Message);
    }

    private static void AssertVisible(string text)
    {
        foreach (var line in text.Split('\n').Select(l => l.TrimEnd('\r')))
        {
            Assert.AreEqual(VisibleText.Of(line), line);
            Assert.IsFalse(line.StartsWith("FORGED", StringComparison.Ordinal), text);
        }
    }
}
