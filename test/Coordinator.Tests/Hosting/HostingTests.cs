using System.Diagnostics;
using System.Runtime.Versioning;
using Grpc.Health.V1;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Hosting;

[TestClass]
public sealed class HostingTests
{
    [TestMethod]
    public async Task Https_WithItsSelfSignedCertificate_IsReachedByThePinAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["https://127.0.0.1:0"]);
        var fingerprint = ServerCertificate.Load(coordinator.Options, coordinator.DataFolder).Fingerprint;
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "ci", "team", Scopes.Read);

        using var pinned = ClusterConnection.Open(coordinator.Address, key, fingerprint);
        await new Protocol.Jobs.JobsClient(pinned.Invoker).GetClusterAsync(new GetClusterRequest()).Within();

        using var unpinned = ClusterConnection.Open(coordinator.Address, key);
        await new Protocol.Jobs.JobsClient(unpinned.Invoker).GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Internal);
        Assert.AreEqual(fingerprint, ServerCertificate.Load(coordinator.Options, coordinator.DataFolder).Fingerprint, "It is made once.");
    }

    [TestMethod]
    [OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
    [UnsupportedOSPlatform("windows")]
    public async Task Socket_InAFolderOpenToOthers_IsRefused()
    {
        var folder = Directory.CreateTempSubdirectory("coord-");
        File.SetUnixFileMode(folder.FullName, (UnixFileMode)Convert.ToInt32("755", 8));
        var options = new CoordinatorOptions { DataFolder = Path.Combine(folder.FullName, "data"), SocketPath = Path.Combine(folder.FullName, "c.sock") };

        var error = await Assert.ThrowsExactlyAsync<InvalidOperationException>(() => CoordinatorServer.StartAsync(options, CancellationToken.None));

        StringAssert.Contains(error.Message, "in a folder of mode 755, expected 700");
        folder.Delete(recursive: true);
    }

    [TestMethod]
    [OSCondition(ConditionMode.Exclude, OperatingSystems.Windows)]
    [UnsupportedOSPlatform("windows")]
    public async Task Socket_File_IsTheOwnersAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        Assert.AreEqual(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(coordinator.SocketPath));
    }

    [TestMethod]
    public async Task Socket_OfAnotherCoordinator_IsNotTakenFromIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var options = new CoordinatorOptions { DataFolder = coordinator.DataFolder + "2", SocketPath = coordinator.SocketPath };

        var error = await Assert.ThrowsExactlyAsync<IOException>(() => CoordinatorServer.StartAsync(options, CancellationToken.None));

        StringAssert.Contains(error.Message, $"Socket \"{coordinator.SocketPath}\" is in use by another coordinator");
        await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
    }

    [TestMethod]
    public async Task Socket_WhereAFileIs_LeavesTheFile()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var file = Path.Combine(Path.GetDirectoryName(coordinator.SocketPath)!, "thesis.txt");
        await File.WriteAllTextAsync(file, "years of work");
        var options = new CoordinatorOptions { DataFolder = coordinator.DataFolder + "2", SocketPath = file };

        var error = await Assert.ThrowsExactlyAsync<InvalidOperationException>(() => CoordinatorServer.StartAsync(options, CancellationToken.None));

        StringAssert.Contains(error.Message, "is a file with content");
        Assert.AreEqual("years of work", await File.ReadAllTextAsync(file));
    }

    [TestMethod]
    public async Task Socket_Missing_IsNamedWithTheRemedy()
    {
        var path = Path.Combine(Path.GetTempPath(), "no-coordinator.sock");
        using var connection = ClusterConnection.Open(new Uri("unix://" + path));

        var error = await new Protocol.Jobs.JobsClient(connection.Invoker).GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Unavailable);

        StringAssert.Contains(error.Status.Detail, $"Socket \"{path}\" does not exist, expected that of a running coordinator");
    }

    [TestMethod]
    public async Task Socket_LeftByAKilledCoordinator_IsNamedWithTheRemedy()
    {
        var folder = Directory.CreateTempSubdirectory("coord-");
        var path = Path.Combine(folder.FullName, "c.sock");
        using var unserved = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified);
        unserved.Bind(new System.Net.Sockets.UnixDomainSocketEndPoint(path));
        using var connection = ClusterConnection.Open(new Uri("unix://" + path));

        var error = await new Protocol.Jobs.JobsClient(connection.Invoker).GetClusterAsync(new GetClusterRequest()).Fails(StatusCode.Unavailable);

        StringAssert.Contains(error.Status.Detail, $"Nobody listens on socket \"{path}\"");
        folder.Delete(recursive: true);
    }

    [TestMethod]
    public async Task DataFolder_InUse_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var error = await Assert.ThrowsExactlyAsync<IOException>(() => CoordinatorServer.StartAsync(coordinator.Options, CancellationToken.None));

        StringAssert.Contains(error.Message, "is in use by another coordinator");
        await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
    }

    [TestMethod]
    public async Task Start_OnAnAddressInUse_FailsAndLetsTheDataFolderGo()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var folder = Directory.CreateTempSubdirectory("coord-");
        var options = new CoordinatorOptions { DataFolder = Path.Combine(folder.FullName, "data"), Urls = [coordinator.Address.ToString()] };

        await Assert.ThrowsAsync<IOException>(() => CoordinatorServer.StartAsync(options, CancellationToken.None).Within());

        DataFolder.Open(options.DataFolder).Dispose();
        folder.Delete(recursive: true);
    }

    [TestMethod]
    public async Task Stop_WithOpenStreams_EndsThemAndIsQuick()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator, slots: 0);
        using var watch = new JobWatch(coordinator, await Specs.SubmitAsync(coordinator));
        await watch.NextAsync();
        var ended = watch.ToEndAsync();
        var refused = worker.RefusedAsync(StatusCode.Unavailable);
        var clock = Stopwatch.StartNew();

        await coordinator.StopServerAsync();

        Assert.IsLessThan(TimeSpan.FromSeconds(10), clock.Elapsed);
        await refused;
        await ended.Fails(StatusCode.Unavailable);
    }

    [TestMethod]
    public async Task Run_UntilCancelled_ServesAndLeavesNoSocket()
    {
        var folder = Directory.CreateTempSubdirectory("coord-");
        var socket = Path.Combine(folder.FullName, "c.sock");
        using var stop = new CancellationTokenSource();
        var running = CoordinatorHost.RunAsync(new CoordinatorOptions { DataFolder = Path.Combine(folder.FullName, "data"), SocketPath = socket }, stop.Token);
        using var connection = ClusterConnection.Open(new Uri("unix://" + socket));
        var health = new Health.HealthClient(connection.Channel);
        var reply = await health.CheckAsync(new HealthCheckRequest(), new CallOptions().WithWaitForReady()).Within();
        Assert.AreEqual(HealthCheckResponse.Types.ServingStatus.Serving, reply.Status);

        await stop.CancelAsync();
        await running.Within();

        Assert.IsFalse(File.Exists(socket));
        folder.Delete(recursive: true);
    }

    [TestMethod]
    public async Task FirstStart_PrintsAKeyAndATokenOnce()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var first = new StringWriter();
        using var second = new StringWriter();

        FirstStart.PrintKeys(coordinator.Get<KeyRing>(), new Uri("https://here:7443"), "AB12", first);
        FirstStart.PrintKeys(coordinator.Get<KeyRing>(), new Uri("https://here:7443"), "AB12", second);

        foreach (var line in new[] { "export MLDIST_COORDINATOR=https://here:7443", "export MLDIST_API_KEY=mlk_", "export MLDIST_FINGERPRINT=AB12", "export MLDIST_JOIN_TOKEN=mlj_", "mldist worker --coordinator https://here:7443 --fingerprint AB12" + Environment.NewLine })
            StringAssert.Contains(first.ToString(), line);
        Assert.AreEqual("", second.ToString());
    }

    [TestMethod]
    [DataRow("https://0.0.0.0:0", null)]
    [DataRow("https://[::]:0", null)]
    [DataRow("https://trainer.example:0", "trainer.example")]
    [DataRow("https://127.0.0.1:0", "127.0.0.1")]
    public void FirstStart_NamesAnAddressThatOthersCanUse(string configured, string? host) =>
        Assert.AreEqual($"https://{(host ?? Environment.MachineName).ToLowerInvariant()}:7443/", FirstStart.Reachable(new Uri(configured), 7443).ToString());

    [TestMethod]
    public void Options_Wrong_AreToldAllAtOnce()
    {
        var errors = new CoordinatorOptions { DataFolder = "", Urls = ["http://0.0.0.0:80", "nonsense"], HeartbeatTimeout = TimeSpan.Zero }.Validate();

        Assert.HasCount(4, errors);
        StringAssert.Contains(errors[1], "would send API keys unencrypted");
    }

    [TestMethod]
    [DataRow("c.sock")]
    [DataRow("data/coordinator.db")]
    public async Task Coordinator_WhoseFilesVanish_EndsAndSaysWhich(string file)
    {
        var folder = Directory.CreateTempSubdirectory("coord-").FullName;
        var time = new ManualTimeProvider();
        var options = new CoordinatorOptions { DataFolder = Path.Combine(folder, "data"), SocketPath = Path.Combine(folder, "c.sock"), Time = time };
        var running = CoordinatorHost.RunAsync(options, CancellationToken.None);
        using (var connection = ClusterConnection.Open(UnixSocketAddress.Of(options.SocketPath)))
        {
            await Eventually.AnsweredAsync(() => new Protocol.Jobs.JobsClient(connection.Invoker).GetClusterAsync(new GetClusterRequest()).ResponseAsync);
        }

        File.Delete(Path.Combine(folder, file));
        time.Advance(TimeSpan.FromSeconds(1));

        var e = await Assert.ThrowsExactlyAsync<IOException>(() => running.Within());
        StringAssert.StartsWith(e.Message, $"File \"{Path.Combine(folder, file)}\" was removed while the coordinator used it");
        Directory.Delete(folder, recursive: true);
    }
}
