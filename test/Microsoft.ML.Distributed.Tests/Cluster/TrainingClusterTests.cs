using System.Collections.Concurrent;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class TrainingClusterTests
{
    private readonly TempFolder _temp = new();
    private readonly ConcurrentQueue<LogLine> _log = new();
    private readonly ConcurrentQueue<TrainingProgress> _progress = new();

    public TestContext TestContext { get; set; } = null!;

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    [TestMethod]
    public async Task Train_RemoteCluster_SendsDataAndReturnsTheModel()
    {
        var script = new Script { Key = "secret" };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address, apiKey: "secret");
        var path = ((ITrainingBackend)cluster).NewDatasetFile();

        var job = Train(cluster, DatasetFiles.Write(path, 4));
        Assert.IsFalse(File.Exists(path));
        cluster.Dispose();
        Assert.IsFalse(Directory.Exists(Path.GetDirectoryName(path)));

        CollectionAssert.AreEqual(Script.Model, job.Onnx);
        Assert.AreEqual("job-1", job.JobId);
        Assert.AreEqual(2, job.Result.WorldSize);
        Assert.HasCount(4, script.Batches);
        Assert.IsTrue(script.HasDataset, "the coordinator found the id's own rows");
        Assert.Contains("GetCluster", script.Calls.First(), "looked before encoding");
    }

    [TestMethod]
    public async Task Train_FolderThatTheContextNames_HoldsTheRowsForNobodyElse()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script());
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        var folder = Directory.CreateDirectory(_temp.File("large disk")).FullName;

        var path = ((ITrainingBackend)cluster).NewDatasetFile(folder);
        var dataset = DatasetFiles.Write(path, 4);

        Assert.AreEqual(folder, Path.GetDirectoryName(path));
        if (!OperatingSystem.IsWindows())
            Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
        Train(cluster, dataset);
        Assert.IsEmpty(Directory.GetFiles(folder));
        StringAssert.StartsWith(
            Assert.ThrowsExactly<IOException>(() => ((ITrainingBackend)cluster).NewDatasetFile(_temp.File("nowhere"))).Message,
            $"MLContext.TempFilePath is \"{_temp.File("nowhere")}\", where rows cannot be encoded (");
    }

    [TestMethod]
    public async Task Train_RunningJob_TellsProgressAndLog()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script());
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(1));

        CollectionAssert.AreEqual(
            new[] { TrainingState.Uploading, TrainingState.Queued, TrainingState.Running, TrainingState.Running, TrainingState.Running, TrainingState.Running, TrainingState.Succeeded },
            _progress.Select(p => p.State).ToArray());
        var half = _progress.ElementAt(3);
        Assert.AreEqual((1, 5L, 10L, 0.5, 2, 0.5), (half.Epoch, half.Step, half.TotalSteps, half.Loss, half.WorldSize, half.Fraction));
        CollectionAssert.AreEqual(Enumerable.Range(1, 5).Select(i => new StepLoss(i, 1 - i / 10.0)).ToArray(), _progress.SelectMany(p => p.RecentLosses).ToArray());
        Assert.AreEqual("Waits for 2 devices.", _progress.ElementAt(1).Message);
        Assert.AreEqual((1.0, 0.6), (_progress.Last().Fraction, _progress.Last().ValidationLoss));
        foreach (var words in new[] { "queued: Waits for 2 devices.", "running on 2 ranks", "epoch 1 of 3: loss 0.4, validation loss 0.6, the best so far", "succeeded: 1 epoch, 10 steps" })
            Assert.IsTrue(_log.Any(l => l.Message.Contains(words, StringComparison.Ordinal)), $"\"{words}\" is not in\n{Log()}");
        Assert.IsTrue(_log.Any(l => l is { Source: "rank 1", Message: "hello" }));
    }

    [TestMethod]
    public async Task Train_DatasetThatTheClusterHas_SendsNothingAndDeletesTheFile()
    {
        var script = new Script { HasDataset = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        var dataset = Dataset(2);

        Train(cluster, dataset);

        Assert.IsFalse(script.Calls.Contains("DoPut"));
        Assert.IsFalse(File.Exists(dataset.Path));
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public async Task Train_ClusterThatAdoptsFiles_MovesTheFileThere(bool replyLost)
    {
        var script = new Script { AdoptsFiles = true, LoseAdoptReply = replyLost, IncomingFolder = _temp.File("incoming") };
        await using var coordinator = await FakeCoordinator.StartAsync(script, _temp.File("c.sock"));
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        var dataset = Dataset(2);

        Train(cluster, dataset);

        Assert.AreEqual(Path.Combine(script.IncomingFolder, Path.GetFileName(dataset.Path)), script.AdoptedPath);
        Assert.IsFalse(script.Calls.Contains("DoPut"));
        Assert.IsFalse(File.Exists(dataset.Path));
    }

    [TestMethod]
    public async Task Train_UploadBroken_GoesOnWithTheNextBatch()
    {
        var script = new Script { CutUploadAfter = 7 };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(20));

        CollectionAssert.AreEqual(new[] { 0L, 7L }, script.FirstBatches);
        Assert.HasCount(20, script.Batches);
    }

    [TestMethod]
    public async Task Train_CoordinatorWithoutRoomForAMoment_ComesAgainWhenAsked()
    {
        var script = new Script { IsCrowded = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var job = Train(cluster, new JobInputs(Dataset(2)) { Files = [new JobFile(new byte[100])] });

        CollectionAssert.AreEqual(Script.Model, job.Onnx);
        foreach (var method in new[] { "FindDataset", "DoPut", "Upload", "SubmitJob", "WatchJob", "Download" })
            Assert.IsTrue(script.Calls.Count(c => c == method) >= 2, method);
    }

    [TestMethod]
    public async Task Train_FileThatTheJobNames_IsSentWholeBeforeTheJobHoweverItsUploadBreaks()
    {
        var script = new Script { CutFileAfter = 2_000_000, HasDataset = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        var content = new byte[2_500_000];
        new Random(1).NextBytes(content);

        Train(cluster, new JobInputs(Dataset(1)) { Files = [new JobFile(content)] });

        Assert.AreEqual(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(content)), script.JobFiles.Single().Id);
        CollectionAssert.AreEqual(content, script.JobFiles.Single().Content);
        CollectionAssert.AreEqual(new[] { "Upload", "Upload", "SubmitJob" }, script.Calls.Where(c => c is "Upload" or "SubmitJob").ToArray());
    }

    [TestMethod]
    public async Task Train_FileRefused_ThrowsWhatTheCoordinatorSays()
    {
        var script = new Script { EarlyUploadAnswer = "The disk is full.", HasDataset = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.Contains("The disk is full.", Assert.ThrowsExactly<ClusterException>(() => Train(cluster, new JobInputs(Dataset(1)) { Files = [new JobFile(new byte[5_000_000])] })).Message);
        Assert.IsEmpty(script.JobsByRequest);
    }

    [TestMethod]
    public async Task Train_UploadRefused_ThrowsWhatTheCoordinatorSays()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { EarlyUploadAnswer = "The schema is wrong." });
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.Contains("The schema is wrong.", Assert.ThrowsExactly<ArgumentException>(() => Train(cluster, Dataset(200))).Message);
    }

    [TestMethod]
    public async Task Train_DatasetArrivesFromAnotherClientMeanwhile_GoesOn()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { EarlyUploadAnswer = "" });
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.AreEqual("job-1", Train(cluster, Dataset(200)).JobId);
    }

    [TestMethod]
    public async Task Train_CancelledInUpload_ThrowsCancelled()
    {
        var script = new Script();
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        using var cancellation = new CancellationTokenSource();
        var progress = new Observer(p => cancellation.Cancel());

        Assert.ThrowsExactly<OperationCanceledException>(() =>
            ((ITrainingBackend)cluster).Train(Spec(), Dataset(200), progress, _log.Enqueue, cancellation.Token));

        Assert.IsEmpty(script.JobsByRequest);
    }

    [TestMethod]
    public async Task Train_UploadDamaged_IsSentAgain()
    {
        var script = new Script { DamageUpload = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(5));

        CollectionAssert.AreEqual(new[] { 0L, 0L }, script.FirstBatches);
        Assert.IsTrue(script.HasDataset);
    }

    [TestMethod]
    public async Task Train_WatchBroken_ResumesWithoutLosingOrRepeatingAnEvent()
    {
        var script = new Script { CutWatchAfter = 3 };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(1));

        Assert.HasCount(script.Events.Count, _progress.Where(p => p.State != TrainingState.Uploading));
        Assert.AreEqual(2, script.Calls.Count(c => c == "WatchJob"));
        Assert.IsTrue(_log.Any(l => l.Level == LogLevel.Warning && l.Message.Contains("lost the coordinator after event 3", StringComparison.Ordinal)));
    }

    [TestMethod]
    public async Task Train_CoordinatorRestarted_FinishesOnTheNewOne()
    {
        var script = new Script();
        var last = script.Events[^1];
        script.Events.Remove(last);
        var first = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(first.Address);
        var training = Task.Run(() => Train(cluster, Dataset(1)));
        await script.Watched.Task.WaitAsync(TimeSpan.FromSeconds(20));

        await first.DisposeAsync();
        script.Events.Add(last);
        await using var second = await FakeCoordinator.StartAsync(script, port: first.Address.Port);
        var job = await training.WaitAsync(TimeSpan.FromSeconds(20));

        Assert.AreEqual("job-1", job.JobId);
    }

    [TestMethod]
    public async Task Train_CoordinatorGoneForGood_NamesTheJobThatMayStillRun()
    {
        var script = new Script { Events = [.. Script.Succeeding().Take(2)] };
        var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address, new TrainingClusterOptions { ReconnectTimeout = TimeSpan.FromMilliseconds(200) });
        var training = Task.Run(() => Train(cluster, Dataset(1)));
        await script.Watched.Task.WaitAsync(TimeSpan.FromSeconds(20));

        await coordinator.DisposeAsync();
        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => training.WaitAsync(TimeSpan.FromSeconds(20)));

        Assert.AreEqual("job-1", e.JobId);
        Assert.Contains("mldist watch job-1", e.Message);
    }

    [TestMethod]
    public async Task Train_SubmitReplyLost_SubmitsOneJob()
    {
        var script = new Script { LoseSubmitReply = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(1));

        Assert.AreEqual(2, script.Calls.Count(c => c == "SubmitJob"));
        Assert.HasCount(1, script.JobsByRequest);
    }

    [TestMethod]
    public async Task Train_DownloadBroken_GoesOnAtTheNextByte()
    {
        var script = new Script { CutDownloadAfter = 3000 };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        CollectionAssert.AreEqual(Script.Model, Train(cluster, Dataset(1)).Onnx);
    }

    [TestMethod]
    public async Task Train_DamagedModel_IsRefused()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { Served = new byte[Script.Model.Length] });
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = Assert.ThrowsExactly<ClusterException>(() => Train(cluster, Dataset(1)));

        Assert.Contains(Script.ModelId, e.Message);
    }

    [TestMethod]
    [DataRow(-1_000_000L, false, "Artifact.size_bytes is -")]
    [DataRow(-1_000L, false, "is announced with 4,")]
    [DataRow(9_000_000_000L, false, "is announced with 9,000,0")]
    [DataRow(100L, true, "ends after ")]
    [DataRow(-100L, true, "has more bytes")]
    public async Task Train_ModelOfAnotherSizeThanAnnounced_IsSaidAtOnce(long more, bool isFetched, string expected)
    {
        var script = new Script { Events = [.. Script.Succeeding(new Artifact { Id = Script.ModelId, SizeBytes = Script.Model.Length + more })] };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = Assert.ThrowsExactly<ClusterException>(() => Train(cluster, Dataset(1)));

        Assert.Contains(expected, e.Message);
        Assert.AreEqual(isFetched ? 1 : 0, script.Calls.Count(c => c == "Download"), "nothing is tried again");
    }

    [TestMethod]
    public async Task Train_DownloadThatAnnouncesAnotherSize_IsSaidAtOnce()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { ServedTotal = 1L << 40 });
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.Contains("has 1,099,511,627,776 bytes", Assert.ThrowsExactly<ClusterException>(() => Train(cluster, Dataset(1))).Message);
    }

    [TestMethod]
    [DynamicData(nameof(SenselessResults))]
    public async Task Train_ResultThatNoTrainingHas_IsRefused(string expected, Action<JobResult> change)
    {
        var script = new Script();
        change(script.Events[^1].State.Result);
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.Contains(expected, Assert.ThrowsExactly<ClusterException>(() => Train(cluster, Dataset(1))).Message);
    }

    [TestMethod]
    public async Task Train_ProgressThatNoTrainingHas_IsBounded()
    {
        var script = new Script();
        script.Events.Insert(2, new JobEvent { Progress = new Progress { Epoch = JobSpecRules.MaxEpochs, Step = long.MaxValue, TotalSteps = 7, RowsPerSecond = double.PositiveInfinity, LearningRate = double.NaN } });
        script.Events.Insert(3, new JobEvent { Progress = new Progress { RowsPerSecond = -1, Loss = double.NaN } });
        script.Events.Insert(4, new JobEvent { State = new StateChanged { State = JobState.Running, WorldSize = JobSpecRules.MaxRanks } });
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Train(cluster, Dataset(1));

        Assert.IsTrue(_progress.Any(p => p is { Epoch: 3, Step: 7, TotalSteps: 7, Fraction: 1, RowsPerSecond: 0, LearningRate: 0 }));
        Assert.IsTrue(_progress.Any(p => p is { Epoch: 1, Step: 0, TotalSteps: 0, Fraction: 0, RowsPerSecond: 0, WorldSize: JobSpecRules.MaxRanks }));
    }

    public static IEnumerable<object[]> SenselessResults =>
    [
        ["tells of 4 epochs, expected 1 to 3", (Action<JobResult>)(r => r.Epochs = 4)],
        ["JobResult.epochs is -1", (Action<JobResult>)(r => r.Epochs = -1)],
        ["JobResult.best_epoch is 2147483647", (Action<JobResult>)(r => r.BestEpoch = int.MaxValue)],
        ["JobResult.best_epoch is -1", (Action<JobResult>)(r => r.BestEpoch = -1)],
        ["history has 1,000 lines", (Action<JobResult>)(r => r.History.Add(Enumerable.Range(0, 1000).Select(_ => new EpochEnded())))],
        ["EpochEnded.epoch is -5", (Action<JobResult>)(r => r.History.Add(new EpochEnded { Epoch = -5 }))],
        ["tells of 0 steps", (Action<JobResult>)(r => r.Steps = 0)],
        ["tells of 0 ranks", (Action<JobResult>)(r => r.WorldSize = 0)],
        ["loss is NaN", (Action<JobResult>)(r => r.TrainingLoss = double.NaN)],
        ["took -1 s", (Action<JobResult>)(r => r.TrainingSeconds = -1)],
    ];

    [TestMethod]
    public async Task Train_FailedJob_ThrowsTheFirstFailure()
    {
        var failure = new JobFailure { Kind = FailureKind.Crashed, Message = "Rank 1 on node7 ended with exit code 139 (signal 11) at step 42.", Rank = 1, Host = "node7", ExitCode = 139, Step = 42 };
        failure.LastWords.Add("Segmentation fault");
        var script = new Script { Events = [.. Script.Succeeding().Take(2), new JobEvent { State = new StateChanged { State = JobState.Failed, Reason = "no", Failure = failure } }] };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = Assert.ThrowsExactly<TrainingFailedException>(() => Train(cluster, Dataset(1)));

        Assert.AreEqual(("job-1", 1, "node7", 139, 42L), (e.JobId, e.Rank, e.Host, e.ExitCode, e.Step));
        Assert.StartsWith(failure.Message, e.Message);
        Assert.Contains("Segmentation fault", e.Message);
        Assert.IsFalse(script.Calls.Contains("CancelJob"));
    }

    [TestMethod]
    public async Task Train_JobCancelledByAnother_ThrowsCancelledWithTheReason()
    {
        var script = new Script { Events = [new JobEvent { State = new StateChanged { State = JobState.Cancelled, Reason = "The administrator cancelled it." } }] };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = Assert.ThrowsExactly<OperationCanceledException>(() => Train(cluster, Dataset(1)));

        Assert.Contains("The administrator cancelled it.", e.Message);
    }

    [TestMethod]
    [DataRow(false)]
    [DataRow(true)]
    public async Task Train_Cancelled_CancelsTheJobAndReturns(bool coordinatorHangs)
    {
        var script = new Script { Events = [.. Script.Succeeding().Take(2)], HangCancel = coordinatorHangs };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);
        using var cancellation = new CancellationTokenSource();
        var dataset = Dataset(1);
        var training = Task.Run(() => Train(cluster, dataset, cancellation.Token));
        await script.Watched.Task.WaitAsync(TimeSpan.FromSeconds(20));

        await cancellation.CancelAsync();
        var e = await Assert.ThrowsAsync<OperationCanceledException>(() => training.WaitAsync(TimeSpan.FromSeconds(20)));

        Assert.AreEqual(cancellation.Token, e.CancellationToken);
        Assert.AreEqual("job-1", await script.Cancelled.Task.WaitAsync(TimeSpan.FromSeconds(20)));
        Assert.IsFalse(File.Exists(dataset.Path));
    }

    [TestMethod]
    public async Task Train_ProgressThrows_CancelsTheJob()
    {
        var script = new Script { HasDataset = true };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        Assert.ThrowsExactly<NotSupportedException>(() =>
            ((ITrainingBackend)cluster).Train(Spec(), Dataset(1), new Observer(_ => throw new NotSupportedException()), _log.Enqueue, CancellationToken.None));

        Assert.AreEqual("job-1", await script.Cancelled.Task.WaitAsync(TimeSpan.FromSeconds(20)));
    }

    [TestMethod]
    public async Task Train_RefusedSpec_ThrowsArgumentExceptionWithAllErrors()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { Refusal = "Epochs is 0, expected at least 1. Dropout is 2, expected a fraction." });
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var e = Assert.ThrowsExactly<ArgumentException>(() => Train(cluster, Dataset(1)));

        Assert.Contains("Epochs is 0, expected at least 1. Dropout is 2, expected a fraction.", e.Message);
        Assert.IsFalse(_log.Any(l => l.Level == LogLevel.Warning), Log());
    }

    [TestMethod]
    public async Task GetStatus_Cluster_ShowsWorkersAndJobs()
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script());
        using var cluster = TrainingCluster.Connect(coordinator.Address);

        var status = cluster.GetStatus();

        Assert.AreEqual((3, 1), (status.QueuedJobs, status.RunningJobs));
        Assert.AreEqual(("here", "cpu"), (status.Workers.Single().Host, status.Workers.Single().Devices.Single().Kind));
    }

    private TrainedJob Train(TrainingCluster cluster, JobInputs inputs, CancellationToken cancellation = default) =>
        ((ITrainingBackend)cluster).Train(Spec(), inputs, new Observer(_progress.Enqueue), _log.Enqueue, cancellation);

    private EncodedDataset Dataset(int batches) => DatasetFiles.Write(_temp.File($"{Guid.NewGuid():N}.arrow"), batches);

    private string Log() => string.Join('\n', _log.Select(l => $"{l.Level} {l.Source}: {l.Message}"));

    private static JobSpec Spec() => Script.Spec.Clone();

    private sealed class Observer(Action<TrainingProgress> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report(value);
    }
}
