using Microsoft.Data.Sqlite;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Tests.Store;

/// <summary>The database is missing, damaged, locked, or lost what was acknowledged: it is said, and never taken for a new beginning.</summary>
[TestClass]
public sealed class DatabaseTests
{
    [TestMethod]
    [DataRow(false, DisplayName = "missing")]
    [DataRow(true, DisplayName = "empty")]
    public async Task Start_WithoutTheDatabaseOfAnEarlierCoordinator_IsRefusedUnlessOnPurpose(bool isEmpty)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.UploadAsync(coordinator, "a model");
        await coordinator.StopServerAsync();
        var database = Database(coordinator);
        File.Delete(database);
        if (isEmpty)
            await File.WriteAllBytesAsync(database, []);

        var error = await Assert.ThrowsExactlyAsync<InvalidOperationException>(() => CoordinatorServer.StartAsync(coordinator.Options, CancellationToken.None).Within());

        StringAssert.Contains(error.Message, $"Database \"{database}\" is {(isEmpty ? "empty" : "missing")}, expected that of the coordinator whose \"coordinator.mark\" is in this data folder");
        StringAssert.Contains(error.Message, "--begin-anew");
        Assert.ThrowsExactly<DirectoryNotFoundException>(() => CoordinatorAdministration.CreateKey(coordinator.DataFolder, "k", "t", Scopes.Read));
        await using var anew = await CoordinatorServer.StartAsync(new CoordinatorOptions { DataFolder = coordinator.DataFolder, SocketPath = coordinator.SocketPath, BeginAnew = true }, CancellationToken.None).Within();
        Assert.IsGreaterThan(0, new FileInfo(database).Length);
    }

    [TestMethod]
    public async Task Start_WithBeginAnewBesideADatabase_UsesIt()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var job = await Specs.SubmitAsync(coordinator);
        await coordinator.StopServerAsync();

        await using (await CoordinatorServer.StartAsync(new CoordinatorOptions { DataFolder = coordinator.DataFolder, SocketPath = coordinator.SocketPath, BeginAnew = true }, CancellationToken.None).Within())
        {
        }

        await coordinator.StartServerAsync();
        Assert.AreEqual(JobState.Queued, (await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = job }).Within()).State);
    }

    [TestMethod]
    public async Task Start_WithNoiseInAPage_IsRefusedWithDamageAndRemedy()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await coordinator.StopServerAsync();
        var database = Database(coordinator);
        using (var file = new FileStream(database, FileMode.Open))
        {
            // The root of a table that nothing reads when it is opened.
            file.Position = 4096 * 5;
            var noise = new byte[4096];
            new Random(1).NextBytes(noise);
            file.Write(noise);
        }

        var error = await Assert.ThrowsExactlyAsync<InvalidOperationException>(() => CoordinatorServer.StartAsync(coordinator.Options, CancellationToken.None).Within());

        StringAssert.Contains(error.Message, $"Database \"{database}\" ");
        StringAssert.Contains(error.Message, "put its backup there");
    }

    [TestMethod]
    [DataRow("whole", false)]
    [DataRow("cut", true)]
    [DataRow("flipped", true)]
    public async Task Log_CutOrFlipped_LacksWhatTheMarkHas(string damage, bool isLost)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        for (var i = 0; i < 20; i++)
            await Specs.SubmitAsync(coordinator);
        // As a kill leaves it: a coordinator that stops folds its log into the database.
        var copy = Directory.CreateTempSubdirectory("coord-").FullName;
        foreach (var file in Directory.GetFiles(coordinator.DataFolder).Where(f => !f.EndsWith(".lock", StringComparison.Ordinal)))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        File.Delete(Path.Combine(copy, "coordinator.db-shm"));
        Harm(Path.Combine(copy, "coordinator.db-wal"), damage);

        using var data = DataFolder.Open(copy);
        using var mark = new CommitMark(copy);
        var database = ClusterDatabase.Open(data, coordinator.Options);
        var (has, promised) = (database.LastCommit(), mark.Read()!.Value);
        var next = database.RecordStart(DateTimeOffset.UnixEpoch, promised.Start);
        database.Close();
        Directory.Delete(copy, recursive: true);

        Assert.AreEqual(isLost, has.Lacks(promised) is not null, $"{has} of {promised}");
        Assert.AreEqual(promised.Start + 1, next.Id, "Sessions of the lost run must not count as this one's.");
    }

    [TestMethod]
    [DataRow(3, 7, 3, 7, null)]
    [DataRow(4, 0, 3, 7, null)]
    [DataRow(0, 0, 0, 0, null)]
    [DataRow(3, 5, 3, 7, "the last 2 of 7 changes of its last run")]
    [DataRow(2, 90, 3, 7, "all of its last run (7 changes) and of runs before")]
    public void Lacks_Counts_SaysWhatIsGone(long start, long commits, long promisedStart, long promisedCommits, string? expected) =>
        Assert.AreEqual(expected, new CommitCount(start, commits).Lacks(new CommitCount(promisedStart, promisedCommits)));

    [TestMethod]
    public async Task Lock_OfAnotherProcess_EndsTheCoordinatorWithAnErrorAfterAWhile()
    {
        await using var folder = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(folder);
        await folder.StopServerAsync();
        var options = new CoordinatorOptions { DataFolder = folder.DataFolder, SocketPath = folder.SocketPath, LockTimeout = TimeSpan.FromSeconds(7) };
        var running = CoordinatorHost.RunAsync(options, CancellationToken.None);
        await Eventually.AnsweredAsync(() => folder.Jobs.GetClusterAsync(new GetClusterRequest()).ResponseAsync);
        using var other = new SqliteConnection($"Data Source={Database(folder)}");
        other.Open();
        using var command = other.CreateCommand();
        command.CommandText = "BEGIN IMMEDIATE;";
        command.ExecuteNonQuery();

        var refused = await folder.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = Specs.Valid() }).Fails(StatusCode.ResourceExhausted);

        StringAssert.Contains(refused.Status.Detail, "another process has it locked");
        var error = await Assert.ThrowsExactlyAsync<IOException>(() => running.Within());
        StringAssert.Contains(error.Message, $"Database \"{Database(folder)}\" was locked by another process for 7 s");
    }

    [TestMethod]
    public async Task Start_OnAFolderThatOthersMayEnter_TakesThatFromThem()
    {
        if (OperatingSystem.IsWindows())
        {
            Assert.Inconclusive("Windows has no such modes.");
            return;
        }

        await using var coordinator = await TestCoordinator.StartAsync();
        await coordinator.StopServerAsync();
        File.SetUnixFileMode(coordinator.DataFolder, (UnixFileMode)0b111_101_101);

        using var data = DataFolder.Open(coordinator.DataFolder);

        Assert.AreEqual((UnixFileMode)0b111_101_101, data.WasOpenTo);
        Assert.AreEqual((UnixFileMode)0b111_000_000, File.GetUnixFileMode(coordinator.DataFolder));
    }

    private static string Database(TestCoordinator coordinator) => Path.Combine(coordinator.DataFolder, "coordinator.db");

    private static void Harm(string log, string damage)
    {
        using var file = new FileStream(log, FileMode.Open, FileAccess.ReadWrite);
        if (damage == "cut")
            file.SetLength(file.Length * 3 / 4);
        if (damage != "flipped")
            return;
        file.Position = file.Length * 3 / 4;
        var value = file.ReadByte();
        file.Position--;
        file.WriteByte((byte)(value ^ 1));
    }
}
