using Apache.Arrow.Ipc;
using MLDistributed.Tests.Shared;

namespace MLDistributed.Coordinator.Tests.Datasets;

[TestClass]
public sealed class FlightUploadTests
{
    [TestMethod]
    public async Task Upload_WholeDataset_IsStoredAsAnArrowFile()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData();

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        foreach (var batch in data.Batches)
            await upload.WriteAsync(batch);
        await upload.CompleteAsync();

        Assert.IsTrue((await FindAsync(coordinator, data)).Complete);
        await AssertStoredAsync(coordinator, data);
        Assert.IsEmpty(Directory.EnumerateDirectories(Path.Combine(coordinator.DataFolder, "datasets")));
    }

    // Their batches end where they are full, and have rows of any number.
    [TestMethod]
    public async Task Upload_SparseRowsThatWereCut_GoesOnAndIsStored()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var batches = new[] { 3, 1, 2 }.Select((rows, b) => SparseBatches.Make(1_000_000, [.. Enumerable.Range(0, rows).Select(r => r == 1 ? Array.Empty<(int, float)>() : [(r, 1f), (999_999 - b, 2)])], Enumerable.Range(0, rows).Select(r => (float)r))).ToList();
        using var hasher = new DatasetHasher(DatasetSchema.Read(batches[0].Schema));
        batches.ForEach(hasher.Append);
        var hash = hasher.Complete();
        var id = hash.Text;
        using (var cut = new FlightUpload(coordinator.Connect().Invoker, id, 0, 6))
        {
            await cut.WriteAsync(batches[0]);
            await Eventually.UntilAsync(coordinator, () => coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = id }).Within(), f => f.ReceivedBatches == 1);
        }

        using var rest = new FlightUpload(coordinator.Connect().Invoker, id, 1, 6);
        await rest.WriteAsync(batches[1]);
        await rest.WriteAsync(batches[2]);
        await rest.CompleteAsync();

        Assert.AreEqual((hash, 6L), await DatasetHasher.ReadAsync(Path.Combine(coordinator.DataFolder, "datasets", id + ".arrow"), CancellationToken.None));
    }

    [TestMethod]
    public async Task Upload_SparseRowsWithASlotThatIsNone_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var upload = new FlightUpload(coordinator.Connect().Invoker, TestDatasets.Small.Id, 0, 1);

        await upload.WriteAsync(SparseBatches.Make(10, [[(3, 1), (10, 1)]], [0]));

        StringAssert.Contains((await upload.RefusedAsync(StatusCode.InvalidArgument)).Status.Detail, "not slots from 0 to 9 in rising order");
    }

    [TestMethod]
    public async Task Uploads_BeyondThoseThatAreAssembledWhileTheyCome_AreStoredAlike()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = Enumerable.Range(1, 6).Select(batches => new TestData(batches)).ToList();
        var uploads = data.ConvertAll(d => new FlightUpload(coordinator.Connect().Invoker, d.Id, 0, d.RowCount));
        for (var i = 0; i < data.Count; i++)
            await uploads[i].WriteAsync(data[i].Batches[0]); // all have begun
        foreach (var each in data.Where(d => d.Batches.Count > 1))
            await Eventually.UntilAsync(coordinator, () => coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = each.Id }).Within(), found => found.ReceivedBatches == 1);

        for (var i = 0; i < data.Count; i++)
        {
            foreach (var batch in data[i].Batches.Skip(1))
                await uploads[i].WriteAsync(batch);
            await uploads[i].CompleteAsync();
            await AssertStoredAsync(coordinator, data[i]);
            uploads[i].Dispose();
        }

        Assert.IsEmpty(Directory.EnumerateFileSystemEntries(Path.Combine(coordinator.DataFolder, "datasets")).Where(f => !f.EndsWith(".arrow", StringComparison.Ordinal)));
    }

    [TestMethod]
    public async Task Upload_Cut_GoesOnWithTheBatchThatIsMissing()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 4);
        await SendAndCutAsync(coordinator, data, batches: 2);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 2, data.RowCount);
        foreach (var batch in data.Batches.Skip(2))
            await upload.WriteAsync(batch);
        await upload.CompleteAsync();

        await AssertStoredAsync(coordinator, data);
    }

    [TestMethod]
    public async Task Upload_CutByARestartInTheMiddleOfABatch_DropsTheTornOne()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 4);
        await SendAndCutAsync(coordinator, data, batches: 2);
        await coordinator.StopServerAsync();
        var segment = Directory.EnumerateFiles(Path.Combine(coordinator.DataFolder, "datasets"), "*.arrows", SearchOption.AllDirectories).Single();
        using (var file = new FileStream(segment, FileMode.Open))
            file.SetLength(file.Length - 100_000);
        await coordinator.StartServerAsync();

        Assert.AreEqual(1, (await FindAsync(coordinator, data)).ReceivedBatches);
        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 1, data.RowCount);
        foreach (var batch in data.Batches.Skip(1))
            await upload.WriteAsync(batch);
        await upload.CompleteAsync();

        await AssertStoredAsync(coordinator, data);
    }

    [TestMethod]
    public async Task Upload_CutAfterItsLastBatch_IsCompletedByTheSchemaAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 2);
        await SendAndCutAsync(coordinator, data, batches: 2);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 2, data.RowCount);
        await upload.BeginAsync(data.Schema);
        await upload.CompleteAsync();

        await AssertStoredAsync(coordinator, data);
    }

    [TestMethod]
    public async Task Upload_WithoutSchema_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        using var upload = new FlightUpload(coordinator.Connect().Invoker, Specs.DatasetId, 0, 1);
        var error = await upload.CompleteAsync().Fails(StatusCode.InvalidArgument);

        StringAssert.Contains(error.Status.Detail, "The flight has no schema");
    }

    [TestMethod]
    public async Task Upload_StartingAtAnotherBatch_IsRefusedWithBothNumbers()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData();

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 2, data.RowCount);
        await upload.WriteAsync(data.Batches[2]);

        StringAssert.Contains((await upload.RefusedAsync(StatusCode.FailedPrecondition)).Status.Detail, "starts at batch 2, expected batch 0");
    }

    [TestMethod]
    public async Task Upload_WithAnotherHash_IsThrownAway()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 2);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        await upload.WriteAsync(data.Batches[0]);
        await upload.WriteAsync(data.Batch(data.Batches[1].Length, seed: 99));
        var error = await upload.CompleteAsync().Fails(StatusCode.DataLoss);

        StringAssert.Contains(error.Status.Detail, $"Dataset \"{data.Id}\" came with the hash");
        var found = await FindAsync(coordinator, data);
        Assert.IsFalse(found.Complete);
        Assert.AreEqual(0, found.ReceivedBatches);
    }

    [TestMethod]
    public async Task Upload_WithAShortBatchInTheMiddle_IsThrownAway()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 2);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        await upload.WriteAsync(data.Batches[1]);
        await upload.WriteAsync(data.Batches[0]);
        var error = await upload.CompleteAsync().Fails(StatusCode.DataLoss);

        StringAssert.Contains(error.Status.Detail, "a batch of 5 rows, expected 8 in every batch but the last");
    }

    [TestMethod]
    public async Task Upload_LargerThanTheLimit_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync(maxUploadBytes: 5 << 20);
        var data = new TestData(batches: 3);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        await upload.WriteAsync(data.Batches[0]);
        await upload.WriteAsync(data.Batches[1]);

        StringAssert.Contains((await upload.RefusedAsync(StatusCode.ResourceExhausted)).Status.Detail, "larger than 5242880 bytes");
    }

    [TestMethod]
    public async Task Upload_WithAnIdThatIsAPath_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 1);

        using var upload = new FlightUpload(coordinator.Connect().Invoker, "../../etc/passwd", 0, data.RowCount);
        await upload.WriteAsync(data.Batches[0]);

        await upload.RefusedAsync(StatusCode.InvalidArgument);
    }

    [TestMethod]
    public async Task Upload_ByASecondClient_TakesOver()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var data = new TestData(batches: 3);
        using var first = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        await first.WriteAsync(data.Batches[0]);
        await Eventually.UntilAsync(coordinator, () => FindAsync(coordinator, data), f => f.ReceivedBatches == 1);

        using var second = new FlightUpload(coordinator.Connect().Invoker, data.Id, 1, data.RowCount);
        foreach (var batch in data.Batches.Skip(1))
            await second.WriteAsync(batch);
        await second.CompleteAsync();

        await first.RefusedAsync(StatusCode.Aborted);
        await AssertStoredAsync(coordinator, data);
    }

    private static async Task SendAndCutAsync(TestCoordinator coordinator, TestData data, int batches)
    {
        using var upload = new FlightUpload(coordinator.Connect().Invoker, data.Id, 0, data.RowCount);
        foreach (var batch in data.Batches.Take(batches))
            await upload.WriteAsync(batch);
        await Eventually.UntilAsync(coordinator, () => FindAsync(coordinator, data), f => f.ReceivedBatches == batches);
    }

    private static Task<FindDatasetReply> FindAsync(TestCoordinator coordinator, TestData data) =>
        coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = data.Id }).Within();

    private static async Task AssertStoredAsync(TestCoordinator coordinator, TestData data)
    {
        using var file = File.OpenRead(Path.Combine(coordinator.DataFolder, "datasets", data.Id + ".arrow"));
        using var reader = new ArrowFileReader(file);
        var first = await reader.ReadNextRecordBatchAsync();
        using var hasher = new DatasetHasher(DatasetSchema.Read(first.Schema));
        for (var batch = first; batch is not null; batch = await reader.ReadNextRecordBatchAsync())
            hasher.Append(batch);
        Assert.AreEqual(data.RowCount, hasher.RowCount);
        Assert.AreEqual(data.Id, hasher.Complete().Text);
    }
}
