using System.Collections.Concurrent;
using System.Diagnostics;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Real processes, with this program in the place of mldist.</summary>
[TestClass]
[OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
public sealed class LocalClusterTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);
    private readonly TempFolder _temp = new();

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    [TestMethod]
    public async Task Train_LocalCluster_StartsItAndDisposeLeavesNothing()
    {
        var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path), Slots = 2, Device = LocalDevice.Cpu });
        ITrainingBackend backend = cluster;
        var path = backend.NewDatasetFile();
        StringAssert.StartsWith(path, cluster.Local!.RunFolder);
        var log = new ConcurrentQueue<LogLine>();
        cluster.Local.Told += log.Enqueue;

        var job = await Task.Run(() => backend.Train(new JobSpec { Epochs = 1 }, DatasetFiles.Write(path, 2), null, new Progress<TrainingProgress>(), _ => { }, CancellationToken.None)).WaitAsync(s_limit);
        var processes = Processes(cluster);
        await UntilAsync(() => log.Any(l => l.Source == "worker"));
        cluster.Dispose();

        CollectionAssert.AreEqual(Script.Model, job.Onnx);
        var worker = log.First(l => l.Source == "worker");
        Assert.AreEqual(LogLevel.Trace, worker.Level);
        StringAssert.Contains(worker.Message, "--lifeline --slots 2 --device cpu");
        Assert.IsTrue(processes.All(p => p.HasExited), "the children left");
        Assert.IsFalse(Directory.Exists(cluster.Local.RunFolder));
    }

    [TestMethod]
    [DataRow(2, DeviceKind.Any, "MinRanks is 2, expected at most 1: the local cluster has 1 CPU slot.")]
    [DataRow(1, DeviceKind.Cuda, "Device is Cuda, expected one that the local cluster has: 1 CPU slot.")]
    public async Task Train_MoreThanALocalClusterHas_IsRefusedAndNotQueuedForEver(int ranks, DeviceKind device, string expected)
    {
        using var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path) });
        ITrainingBackend backend = cluster;
        var dataset = DatasetFiles.Write(backend.NewDatasetFile(), 1);
        var spec = new JobSpec { Epochs = 1, Resources = new ResourceSpec { MinRanks = ranks, Device = device } };

        var e = await Assert.ThrowsExactlyAsync<ArgumentException>(() => Task.Run(() => backend.Train(spec, dataset, null, null, _ => { }, CancellationToken.None)).WaitAsync(s_limit));

        StringAssert.StartsWith(e.Message, expected);
        Assert.IsFalse(File.Exists(dataset.Path));
    }

    [TestMethod]
    public async Task StartLocal_CoordinatorFails_FailsAtOnceWithItsLastWords()
    {
        using var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path, "export STAND_IN_FAILS=coordinator") });

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => cluster.GetStatusAsync().WaitAsync(s_limit));

        StringAssert.Contains(e.Message, "coordinator ended with exit code 3 while it started");
        StringAssert.Contains(e.Message, "libtorch is not for this machine");
        Assert.ThrowsExactly<ClusterException>(() => ((ITrainingBackend)cluster).NewDatasetFile(), "known before data is encoded");
    }

    [TestMethod]
    public async Task StartLocal_CoordinatorHangs_FailsAfterTheTimeoutAndIsKilled()
    {
        var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path, "export STAND_IN_HANGS=coordinator"), StartTimeout = TimeSpan.FromSeconds(1) });

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => cluster.GetStatusAsync().WaitAsync(s_limit));
        var processes = Processes(cluster);
        cluster.Dispose();

        StringAssert.Contains(e.Message, "did not start within 1 s");
        Assert.IsTrue(processes.All(p => p.HasExited), "the hanging child was killed");
    }

    [TestMethod]
    public async Task StartLocal_ChildKilled_IsStartedAgain()
    {
        using var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path) });
        await cluster.GetStatusAsync().WaitAsync(s_limit);
        var told = new TaskCompletionSource<LogLine>(TaskCreationOptions.RunContinuationsAsynchronously);
        cluster.Local!.Told += line =>
        {
            if (line.Level == LogLevel.Warning)
                told.TrySetResult(line);
        };

        foreach (var process in Processes(cluster))
            process.Kill();
        var warning = await told.Task.WaitAsync(s_limit);

        StringAssert.Contains(warning.Message, "exit code 137; it is started again (1 of 5)");
        Assert.AreEqual("fake", (await cluster.GetStatusAsync().WaitAsync(s_limit)).Version);
    }

    [TestMethod]
    public async Task Train_CoordinatorCannotBeStartedAgain_FailsWithItsLastWords()
    {
        var second = _temp.File("second");
        var runtime = StandIn.MakeRuntime(_temp.Path, $"export STAND_IN_TRAINS_ON=1; if [ $1 = coordinator ]; then if [ -e {second} ]; then echo the disk is full >&2; exit 4; fi; touch {second}; fi");
        using var cluster = Start(new LocalClusterOptions { RuntimePath = runtime });
        await cluster.GetStatusAsync().WaitAsync(s_limit);
        var running = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        ITrainingBackend backend = cluster;
        var training = Task.Run(() => backend.Train(new JobSpec(), DatasetFiles.Write(backend.NewDatasetFile(), 1), null, new Progress<TrainingProgress>(), line =>
        {
            if (line.Message.StartsWith("running", StringComparison.Ordinal))
                running.TrySetResult();
        }, CancellationToken.None));
        await running.Task.WaitAsync(s_limit);

        foreach (var process in Processes(cluster))
            process.Kill();
        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => training.WaitAsync(s_limit));

        StringAssert.Contains(e.Message, "coordinator ended with exit code 4 after 5 restarts");
        StringAssert.Contains(e.Message, "the disk is full");
    }

    [TestMethod]
    public void SetEnvironment_AppsOwnSettings_StayWithTheApp()
    {
        var environment = new Dictionary<string, string?>
        {
            ["ASPNETCORE_URLS"] = "http://*:80", ["URLS"] = "http://*:80", ["DOTNET_gcServer"] = "1", ["MLDIST_API_KEY"] = "secret", ["DOTNET_TieredPGO"] = "1", ["HOME"] = "/h",
        };

        RuntimeProcess.SetEnvironment(environment);
        environment.Remove("DOTNET_ROOT");

        CollectionAssert.AreEquivalent(
            new Dictionary<string, string?> { ["DOTNET_gcServer"] = "0", ["DOTNET_TieredPGO"] = "1", ["DOTNET_EnableDiagnostics"] = "0", ["HOME"] = "/h" },
            environment);
    }

    [TestMethod]
    [DataRow("the end of Main")]
    [DataRow("SIGTERM")]
    [DataRow("SIGKILL")]
    public async Task App_WithAutomaticCluster_LeavesNothingHoweverItEnds(string end)
    {
        using var app = StartApp();
        var words = (await app.StandardOutput.ReadLineAsync().WaitAsync(s_limit))!.Split(' ');
        var children = words[1..].Select(id => Process.GetProcessById(int.Parse(id))).ToArray();
        Assert.HasCount(2, children);

        if (end == "SIGKILL")
            app.Kill();
        else if (end == "SIGTERM")
            await Process.Start("kill", ["-TERM", $"{app.Id}"]).WaitForExitAsync().WaitAsync(s_limit);
        else
            app.StandardInput.Close();
        await app.WaitForExitAsync().WaitAsync(s_limit);
        await Task.WhenAll(children.Select(c => UntilGoneAsync(c.Id)));

        Assert.IsFalse(Directory.Exists(words[0]), "the last child removed it");
    }

    private Process StartApp() => Process.Start(new ProcessStartInfo(Environment.ProcessPath!, ["stand-in", "app"])
    {
        RedirectStandardInput = true,
        RedirectStandardOutput = true,
        Environment = { [ClusterEnvironment.Runtime] = StandIn.MakeRuntime(_temp.Path) },
    })!;

    private static TrainingCluster Start(LocalClusterOptions options) => TrainingCluster.StartLocal(options);

    private static Process[] Processes(TrainingCluster cluster) => [.. cluster.Local!.ProcessIds.Select(Process.GetProcessById)];

    /// <summary>Polls, because nothing tells of the end of a process that is not a child.</summary>
    private static Task UntilGoneAsync(int id) => UntilAsync(() =>
    {
        try
        {
            // A container's first process may not reap: a zombie is gone.
            return File.ReadAllText($"/proc/{id}/stat").Split(") ")[1].StartsWith('Z');
        }
        catch (IOException)
        {
            return true;
        }
    });

    private static async Task UntilAsync(Func<bool> holds)
    {
        using var limit = new CancellationTokenSource(s_limit);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        while (!holds())
            await timer.WaitForNextTickAsync(limit.Token);
    }
}
