using System.Security.Cryptography;
using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Transfers;
using Worker.Tests.Fakes;

namespace Worker.Tests.Transfers;

[TestClass]
public sealed class BlobTransferTests
{
    [TestMethod]
    public async Task Upload_WhenConnectionsBreakInTheMiddle_GoesOnUntilItIsStored()
    {
        using var folder = RunDirectory.Create();
        await using var coordinator = await FakeCoordinator.StartAsync(Path.Combine(folder.Path, "c.sock"));
        using var connection = ClusterConnection.Open(coordinator.Address);
        var path = Path.Combine(folder.Path, "result");
        // More than pipes and windows hold, so that a write waits when the connection breaks.
        await File.WriteAllBytesAsync(path, RandomNumberGenerator.GetBytes(8 << 20));
        coordinator.BrokenUploads = 10;

        var stored = await new BlobTransfer(() => connection.Invoker, TimeProvider.System, new AgentLog(NullLogger.Instance)).UploadAsync(path, onProgress: null, CancellationToken.None);

        CollectionAssert.AreEqual(await File.ReadAllBytesAsync(path), coordinator.Artifacts[stored.Id]);
        Assert.IsLessThan(0, coordinator.BrokenUploads);
    }
}
