namespace MLDistributed.Coordinator.Tests.Datasets;

[TestClass]
public sealed class AdoptionTests
{
    [TestMethod]
    public async Task Adopt_FileInTheIncomingFolder_IsRenamed()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var found = await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = Specs.DatasetId }).Within();
        Assert.IsTrue(found.AdoptsFiles);
        Assert.IsFalse(found.Complete);
        var path = Path.Combine(found.IncomingFolder, "x.arrow");
        await File.WriteAllBytesAsync(path, TestDatasets.Small.File);

        var reply = await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = Specs.DatasetId, Path = path, RowCount = TestDatasets.Rows }).Within();

        Assert.IsTrue(reply.Complete);
        Assert.IsFalse(File.Exists(path));
        CollectionAssert.AreEqual(TestDatasets.Small.File, await File.ReadAllBytesAsync(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }

    [TestMethod]
    [DataRow("one bit", 10)]
    [DataRow("cut", 10)]
    [DataRow("empty", 10)]
    [DataRow("no arrow", 10)]
    [DataRow("whole", 9, DisplayName = "other rows than told")]
    public async Task Adopt_FileThatIsNotTheDatasetAnyMore_IsRefused(string damage, int rows)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var found = await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = Specs.DatasetId }).Within();
        var path = Path.Combine(found.IncomingFolder, "x.arrow");
        var bytes = TestDatasets.Small.File.ToArray();
        var values = bytes.AsSpan().IndexOf(System.Runtime.InteropServices.MemoryMarshal.AsBytes<float>([0f, 1f, 0f, 1f])); // of the labels
        bytes[values + 2] ^= (byte)(damage == "one bit" ? 1 : 0);
        await File.WriteAllBytesAsync(path, damage switch { "cut" => bytes[..(bytes.Length / 2)], "empty" => [], "no arrow" => "rows"u8.ToArray(), _ => bytes });

        var error = await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = Specs.DatasetId, Path = path, RowCount = rows }).Fails(StatusCode.DataLoss);

        StringAssert.Contains(error.Status.Detail, $"File \"{path}\" is not dataset \"{Specs.DatasetId}\" any more (");
        Assert.IsFalse(File.Exists(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }

    [TestMethod]
    [DataRow("incoming")]
    [DataRow("datasets")]
    [DataRow("blobs")]
    public async Task Adopt_AfterACleanerRemovedAFolder_IsMadeAgain(string folder)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        Directory.Delete(Path.Combine(coordinator.DataFolder, folder));

        await Specs.AddDatasetAsync(coordinator);
        await Specs.UploadAsync(coordinator, "a blob");

        Assert.IsTrue(File.Exists(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
    }

    [TestMethod]
    [DataRow("{incoming}/../coordinator.db")]
    [DataRow("/etc/hostname")]
    [DataRow("{incoming}/link")]
    [DataRow("{incoming}/missing")]
    [DataRow("{incoming}/sub/x.arrow")]
    public async Task Adopt_AnythingElse_IsRefused(string path)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var incoming = Path.Combine(coordinator.DataFolder, "incoming");
        File.CreateSymbolicLink(Path.Combine(incoming, "link"), "/etc/hostname");
        Directory.CreateDirectory(Path.Combine(incoming, "sub"));
        await File.WriteAllTextAsync(Path.Combine(incoming, "sub", "x.arrow"), "rows");

        var request = new AdoptDatasetRequest { DatasetId = Specs.DatasetId, Path = path.Replace("{incoming}", incoming, StringComparison.Ordinal), RowCount = 1 };
        var error = await coordinator.Datasets.AdoptDatasetAsync(request).Fails(StatusCode.InvalidArgument);

        StringAssert.Contains(error.Status.Detail, "cannot be adopted, expected an existing file (no link) directly in");
    }

    [TestMethod]
    public async Task Adopt_OverTheNetwork_IsDenied()
    {
        await using var coordinator = await TestCoordinator.StartAsync(["http://127.0.0.1:0"]);
        var key = CoordinatorAdministration.CreateKey(coordinator.DataFolder, "ci", "team", Scopes.Submit);
        var datasets = new Protocol.Datasets.DatasetsClient(coordinator.ConnectByKey(key).Invoker);

        Assert.IsFalse((await datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = Specs.DatasetId }).Within()).AdoptsFiles);
        await datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = Specs.DatasetId, Path = "/x", RowCount = 1 }).Fails(StatusCode.PermissionDenied);
    }
}
