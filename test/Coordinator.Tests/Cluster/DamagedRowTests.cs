using Microsoft.Data.Sqlite;

namespace MLDistributed.Coordinator.Tests.Cluster;

/// <summary>What workers name and what a disk changes: no start fails for a row, and no id becomes a path.</summary>
[TestClass]
public sealed class DamagedRowTests
{
    private static readonly string Hash = new('a', 64);

    [TestMethod]
    [DataRow("\"Checkpoints\" = '1:2: x ../../c'"), DataRow("\"Checkpoints\" = '5'"), DataRow("\"Spec\" = x'0A7F'"), DataRow("\"Spec\" = 'text'"), DataRow("\"Result\" = x'FF'")]
    public async Task Start_WithADamagedJob_SetsItAsideAndServesTheOthers(string change)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var damaged = await Specs.SubmitAsync(coordinator, Specs.Valid("damaged"));
        var good = await Specs.SubmitAsync(coordinator, Specs.Valid("good"));
        await coordinator.StopServerAsync();
        Execute(coordinator, $"UPDATE \"Jobs\" SET {change} WHERE \"Id\" = '{damaged}';");

        await coordinator.StartServerAsync();

        using var worker = await FakeWorker.ConnectAsync(coordinator);
        Assert.AreEqual(good, (await worker.ExpectStartAsync()).JobId);
        var list = await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within();
        CollectionAssert.AreEqual(new[] { good }, list.Jobs.Select(j => j.Id).ToArray());
        var error = await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = damaged }).Fails(StatusCode.DataLoss);
        StringAssert.Contains(error.Status.Detail, $"Job \"{damaged}\" in the database cannot be read");
    }

    [TestMethod]
    public async Task Start_WithDamagedAttemptsAndEvents_Serves()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);
        var job = await Specs.SubmitAsync(coordinator);
        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            var start = await worker.ExpectStartAsync();
            await worker.StartedAsync(start);
            await worker.LogAsync(start, "hello");
            using var watch = new JobWatch(coordinator, job);
            await watch.UntilLogAsync("hello");
        }

        await coordinator.StopServerAsync();
        Execute(coordinator, "UPDATE \"Attempts\" SET \"Slots\" = 'none'; UPDATE \"JobEvents\" SET \"Event\" = x'0A' WHERE \"Transient\" = 1;");

        await coordinator.StartServerAsync();

        Assert.AreEqual(1, (await coordinator.Jobs.ListJobsAsync(new ListJobsRequest()).Within()).Jobs.Count);
    }

    [TestMethod]
    [DataRow("../victim"), DataRow("/etc/passwd"), DataRow("a b:../c"), DataRow("")]
    public async Task Worker_NamingAPath_IsRefusedAndTouchesNothing(string id)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var victim = Path.Combine(coordinator.DataFolder, "victim");
        await File.WriteAllTextAsync(victim, "precious");
        await Specs.AddDatasetAsync(coordinator);
        var job = await Specs.SubmitAsync(coordinator);

        using (var worker = await FakeWorker.ConnectAsync(coordinator))
        {
            await worker.CheckpointAsync(await worker.ExpectStartAsync(), new Artifact { Id = id }, 1);
            StringAssert.Contains((await worker.RefusedAsync(StatusCode.InvalidArgument)).Status.Detail, $"Artifact.id is \"{id}\", expected 64 lower-case hexadecimal digits");
        }

        using (var worker = await FakeWorker.ConnectAsync(coordinator, "w2"))
        {
            await worker.SendAsync(new WorkerMessage { AttemptEnded = new AttemptEnded { AttemptId = "x", Result = new JobResult { Artifacts = { ["model.onnx"] = new Artifact { Id = id } } } } });
            await worker.RefusedAsync(StatusCode.InvalidArgument);
        }

        Assert.IsNull((await coordinator.Jobs.GetJobAsync(new GetJobRequest { JobId = job }).Within()).Result);
        Assert.AreEqual("precious", await File.ReadAllTextAsync(victim));
        Assert.ThrowsExactly<FormatException>(() => ContentHash.Parse(id));
        Assert.ThrowsExactly<FormatException>(() => OpaqueId.Parse(id));
    }

    [TestMethod]
    public void StoredCheckpoints_OfTheirText_AreWhatWasWritten()
    {
        var stored = new Coordinator.Jobs.StoredCheckpoint(ContentHash.Parse(Hash), 7, 3);

        Assert.AreEqual(stored, Coordinator.Jobs.StoredCheckpoint.Parse(Coordinator.Jobs.StoredCheckpoint.ToText([stored])).Single());
    }

    private static void Execute(TestCoordinator coordinator, string sql)
    {
        using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = Path.Combine(coordinator.DataFolder, "coordinator.db"), Pooling = false }.ToString());
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        command.ExecuteNonQuery();
    }
}
