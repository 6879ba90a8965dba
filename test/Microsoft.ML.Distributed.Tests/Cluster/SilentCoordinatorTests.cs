using System.Net;
using System.Net.Sockets;
using Grpc.Core;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Calls that are taken and never answered end with their token, with their cluster, or with their time.</summary>
[TestClass]
public sealed class SilentCoordinatorTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(20);
    private static readonly TrainingClusterOptions s_patient = new() { ConnectTimeout = TimeSpan.FromMinutes(10), ReconnectTimeout = TimeSpan.FromMinutes(10) };
    private readonly TempFolder _temp = new();

    [TestCleanup]
    public void Clean() => _temp.Dispose();

    [TestMethod]
    public void NewDatasetFile_HostThatNeverAnswers_IsTriedForItsTimeAndSaysSo()
    {
        using var silent = Silent(out var address);
        using var cluster = TrainingCluster.Connect(address, new TrainingClusterOptions { ConnectTimeout = TimeSpan.FromSeconds(0.5) });

        var e = Assert.ThrowsExactly<ClusterException>(() => ((ITrainingBackend)cluster).NewDatasetFile());

        Assert.Contains("does not answer: tried 1 times in ", e.Message, "one budget of time for all attempts");
        Assert.Contains("It gave no answer in 0.", e.Message);
    }

    [TestMethod]
    public async Task Calls_HostThatNeverAnswers_EndWithTheirToken()
    {
        using var silent = Silent(out var address);
        using var cluster = TrainingCluster.Connect(address, s_patient);
        using var cancel = new CancellationTokenSource();
        var status = cluster.GetStatusAsync(cancel.Token);
        var file = Task.Run(() => ((ITrainingBackend)cluster).NewDatasetFile(cancellation: cancel.Token));

        await cancel.CancelAsync();

        await Assert.ThrowsAsync<OperationCanceledException>(() => status.WaitAsync(s_limit));
        await Assert.ThrowsAsync<OperationCanceledException>(() => file.WaitAsync(s_limit));
    }

    [TestMethod]
    [DynamicData(nameof(Calls))]
    public async Task Fit_CoordinatorThatFallsSilent_EndsWithItsToken(string at)
    {
        using var cancel = new CancellationTokenSource();

        await EndAsync<OperationCanceledException>(at, _ => cancel.CancelAsync(), cancel.Token);
    }

    [TestMethod]
    [DynamicData(nameof(Calls))]
    public async Task Fit_ClusterDisposedUnderIt_SaysThat(string at)
    {
        var e = await EndAsync<ObjectDisposedException>(at, cluster => cluster.DisposeAsync().AsTask());

        Assert.Contains("was disposed while it was used", e.Message);
    }

    [TestMethod]
    [DynamicData(nameof(Calls))]
    public async Task Fit_CoordinatorThatFallsSilentForGood_EndsInItsTimeAndSaysSo(string at)
    {
        var soon = TimeSpan.FromSeconds(0.3);
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { Hangs = at == "WatchJob" ? "WatchJob GetJob" : at });
        using var cluster = TrainingCluster.Connect(coordinator.Address, new TrainingClusterOptions { ConnectTimeout = soon, ReconnectTimeout = soon, Quiet = soon });

        var e = await Assert.ThrowsExactlyAsync<ClusterException>(() => FitAsync(cluster, CancellationToken.None).WaitAsync(s_limit));

        Assert.Contains("It gave no answer in ", e.Message);
        Assert.AreEqual(at == "WatchJob" ? "job-1" : null, e.JobId);
    }

    [TestMethod]
    public async Task Fit_JobThatHasNothingToTell_IsWaitedFor()
    {
        var script = new Script { Hangs = "WatchJob" };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address, new TrainingClusterOptions { ConnectTimeout = s_limit, ReconnectTimeout = TimeSpan.Zero, Quiet = TimeSpan.FromMilliseconds(20) });
        using var cancel = new CancellationTokenSource();
        var fit = FitAsync(cluster, cancel.Token);

        // It answers that it is there, any number of times.
        await script.AskedOften.Task.WaitAsync(s_limit, CancellationToken.None);
        Assert.IsFalse(fit.IsCompleted);
        Assert.AreEqual(1, script.Calls.Count(c => c == "WatchJob"));

        await cancel.CancelAsync();
        await Assert.ThrowsAsync<OperationCanceledException>(() => fit.WaitAsync(s_limit, CancellationToken.None));
    }

    public static IEnumerable<object[]> Calls => [["GetCluster"], ["FindDataset"], ["DoPut"], ["Upload"], ["SubmitJob"], ["WatchJob"], ["Download"]];

    [TestMethod]
    public async Task Dispose_WhileAJobTrains_CancelsTheJob()
    {
        var script = new Script { Events = [.. Script.Succeeding().Take(2)] };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        var cluster = TrainingCluster.Connect(coordinator.Address, s_patient);
        var fit = FitAsync(cluster, CancellationToken.None);
        await script.Watched.Task.WaitAsync(s_limit);

        cluster.Dispose();

        await Assert.ThrowsExactlyAsync<ObjectDisposedException>(() => fit.WaitAsync(s_limit));
        Assert.AreEqual("job-1", await script.Cancelled.Task.WaitAsync(s_limit));
    }

    [TestMethod]
    [DataRow(true)]
    [DataRow(false)]
    public async Task Listener_ThatThrows_EndsFitWithItsOwnExceptionAndTheJob(bool isProgress)
    {
        // The worst that it may throw: what a lost connection looks like.
        var mine = new RpcException(new Status(StatusCode.Unavailable, "the listener's own"));
        var script = new Script { Events = [.. Script.Succeeding().Take(2)] };
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address, s_patient);
        var progress = isProgress ? new Listener(p => { if (p.State == TrainingState.Running) throw mine; }) : null;

        var e = await Assert.ThrowsExactlyAsync<RpcException>(() => FitAsync(cluster, CancellationToken.None, progress, line => { if (!isProgress && line.Message.StartsWith("running", StringComparison.Ordinal)) throw mine; }).WaitAsync(s_limit));

        Assert.AreSame(mine, e);
        Assert.AreEqual("job-1", await script.Cancelled.Task.WaitAsync(s_limit));
    }

    // A Fit whose call is never answered, ended from outside.
    private async Task<T> EndAsync<T>(string at, Func<TrainingCluster, Task> end, CancellationToken cancellation = default)
        where T : Exception
    {
        await using var coordinator = await FakeCoordinator.StartAsync(new Script { Hangs = at });
        using var cluster = TrainingCluster.Connect(coordinator.Address, s_patient);
        var fit = FitAsync(cluster, cancellation);
        await coordinator.Script.Hung.Task.WaitAsync(s_limit, CancellationToken.None);

        await end(cluster);

        return await Assert.ThrowsAsync<T>(() => fit.WaitAsync(s_limit, CancellationToken.None));
    }

    private Task FitAsync(TrainingCluster cluster, CancellationToken cancellation, IProgress<TrainingProgress>? progress = null, Action<LogLine>? log = null)
    {
        ITrainingBackend backend = cluster;
        return Task.Run(() =>
        {
            backend.NewDatasetFile(cancellation: cancellation);
            backend.Train(Script.Spec.Clone(), new JobInputs(DatasetFiles.Write(_temp.File("data.arrow"), 1)) { Files = [new JobFile(new byte[10])] }, progress, log ?? (_ => { }), cancellation);
        });
    }

    private static TcpListener Silent(out Uri address)
    {
        var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        address = new Uri($"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}");
        return listener;
    }

    private sealed class Listener(Action<TrainingProgress> report) : IProgress<TrainingProgress>
    {
        public void Report(TrainingProgress value) => report(value);
    }
}
