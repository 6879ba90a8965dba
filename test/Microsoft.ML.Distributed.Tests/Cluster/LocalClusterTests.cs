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

        var job = await Task.Run(() => backend.Train(Script.Spec.Clone(), DatasetFiles.Write(path, 2), new Progress<TrainingProgress>(), _ => { }, CancellationToken.None)).WaitAsync(s_limit);
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

        var e = await Assert.ThrowsExactlyAsync<ArgumentException>(() => Task.Run(() => backend.Train(spec, dataset, null, _ => { }, CancellationToken.None)).WaitAsync(s_limit));

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
        var training = Task.Run(() => backend.Train(new JobSpec(), DatasetFiles.Write(backend.NewDatasetFile(), 1), new Progress<TrainingProgress>(), line =>
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
            ["DOTNET_GCHeapHardLimit"] = "0x1000000", ["MLDIST_CHILD_DOTNET_gcTrace"] = "1",
        };

        RuntimeProcess.SetEnvironment(environment);
        environment.Remove("DOTNET_ROOT");

        CollectionAssert.AreEquivalent(
            new Dictionary<string, string?> { ["DOTNET_gcServer"] = "0", ["DOTNET_TieredPGO"] = "0", ["DOTNET_EnableDiagnostics"] = "0", ["HOME"] = "/h", ["MLDIST_CHILD_DOTNET_gcTrace"] = "1", ["DOTNET_gcTrace"] = "1" },
            environment);
    }

    [TestMethod]
    public async Task Start_RuntimeOfAnotherRelease_SaysThatAndWhatItSaid()
    {
        var older = StandIn.MakeRuntime(_temp.Path, "echo \"Unrecognized command or argument '--cache-bytes'.\" >&2; exit 2");
        using var cluster = Start(new LocalClusterOptions { RuntimePath = older });

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => cluster.GetStatusAsync().WaitAsync(s_limit));

        Assert.Contains("does not know how this library starts a ", e.Message);
        Assert.Contains("it is of another. Update it, as with \"dotnet tool update mldist\"", e.Message);
        Assert.Contains("Unrecognized command or argument '--cache-bytes'.", e.Message);
    }

    [TestMethod]
    [DataRow("the end of Main")]
    [DataRow("SIGTERM")]
    [DataRow("SIGKILL")]
    public async Task App_WithAutomaticCluster_LeavesNothingHoweverItEnds(string end)
    {
        using var app = StartApp();
        var words = (await app.StandardOutput.ReadLineAsync().WaitAsync(s_limit))!.Split(' ');
        var children = words[2..].Select(id => Process.GetProcessById(int.Parse(id))).ToArray();
        Assert.HasCount(2, children);

        if (end == "SIGKILL")
            app.Kill();
        else if (end == "SIGTERM")
            await Process.Start("kill", ["-TERM", $"{app.Id}"]).WaitForExitAsync().WaitAsync(s_limit);
        else
            app.StandardInput.Close();
        await app.WaitForExitAsync().WaitAsync(s_limit);
        await Task.WhenAll(children.Select(c => UntilGoneAsync(c.Id)));

        Assert.IsFalse(Directory.Exists(Uri.UnescapeDataString(words[0])), "the last child removed it");
    }

    [TestMethod]
    [DataRow("h#1")]
    [DataRow("a?b")]
    [DataRow("%41")]
    [DataRow("a\\b")]
    [DataRow("relative")]
    [DataRow("a b\"'\n$(c)")]
    [DataRow("漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字")]
    public async Task App_WhoseTempFolderHasAnyName_StartsAClusterThatLeavesNothing(string name)
    {
        var temp = Directory.CreateDirectory(_temp.File(name)).FullName;
        using var app = StartApp(name == "relative" ? name : temp);
        var words = (await app.StandardOutput.ReadLineAsync().WaitAsync(s_limit))!.Split(' ');
        var (run, socket, children) = (Uri.UnescapeDataString(words[0]), Uri.UnescapeDataString(words[1]), words[2..]);

        StringAssert.StartsWith(run, temp);
        Assert.IsTrue(children.All(c => new FileInfo($"/proc/{c}/cwd").LinkTarget == run), "children start in a folder of ours");
        app.StandardInput.Close();
        await app.WaitForExitAsync().WaitAsync(s_limit);

        Assert.AreEqual(0, app.ExitCode);
        Assert.IsFalse(Directory.Exists(run));
        Assert.IsFalse(Directory.Exists(Path.GetDirectoryName(socket)), "the short folder of a socket goes too");
    }

    [TestMethod]
    [DataRow("the end of Main", 0)]
    [DataRow("exit 3", 3)]
    public async Task App_ThatEndsWhileAThreadIsInFit_EndsWithItsOwnExitCode(string end, int expected)
    {
        using var app = StartApp(role: "fit", environment: "export STAND_IN_TRAINS_ON=1");
        Assert.AreEqual("training", await app.StandardOutput.ReadLineAsync().WaitAsync(s_limit));

        await app.StandardInput.WriteLineAsync(end);
        app.StandardInput.Close();
        var errors = await app.StandardError.ReadToEndAsync().WaitAsync(s_limit);
        await app.WaitForExitAsync().WaitAsync(s_limit);

        Assert.AreEqual(expected, app.ExitCode, errors);
        Assert.AreEqual("", errors);
    }

    [TestMethod]
    [DataRow("")]
    [DataRow("incoming")]
    [DataRow(".lock")]
    public async Task NewDatasetFile_AfterACleanerOfTempFolders_MakesTheFolderAgain(string removed)
    {
        using var cluster = Start(new LocalClusterOptions { RuntimePath = StandIn.MakeRuntime(_temp.Path) });
        await cluster.GetStatusAsync().WaitAsync(s_limit);
        var path = Path.Combine(cluster.Local!.RunFolder, removed);
        if (File.Exists(path))
            File.Delete(path);
        else if (Directory.Exists(path))
            Directory.Delete(path, recursive: true);

        await File.WriteAllTextAsync(((ITrainingBackend)cluster).NewDatasetFile(), "rows");

        Assert.IsTrue(File.Exists(Path.Combine(cluster.Local.RunFolder, ".lock")));
        Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, new DirectoryInfo(cluster.Local.RunFolder).UnixFileMode);
        cluster.Dispose();
        Assert.IsFalse(Directory.Exists(cluster.Local.RunFolder));
    }

    private Process StartApp(string? temp = null, string role = "app", string? environment = null)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["stand-in", role])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = role == "fit",
            WorkingDirectory = _temp.Path,
            Environment = { [ClusterEnvironment.Runtime] = StandIn.MakeRuntime(_temp.Path, environment) },
        };
        if (temp is not null)
            start.Environment["TMPDIR"] = temp;
        return Process.Start(start)!;
    }

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
