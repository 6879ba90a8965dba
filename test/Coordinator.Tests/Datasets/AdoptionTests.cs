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
        await File.WriteAllTextAsync(path, "rows");

        var reply = await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = Specs.DatasetId, Path = path, RowCount = 1 }).Within();

        Assert.IsTrue(reply.Complete);
        Assert.IsFalse(File.Exists(path));
        Assert.AreEqual("rows", await File.ReadAllTextAsync(Path.Combine(coordinator.DataFolder, "datasets", Specs.DatasetId + ".arrow")));
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
