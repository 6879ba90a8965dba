using System.Security.Cryptography;
using Google.Protobuf;

namespace MLDistributed.Coordinator.Tests.Blobs;

[TestClass]
public sealed class BlobTests
{
    private static readonly byte[] Content = RandomContent(2_500_000);
    private static readonly string Id = Convert.ToHexStringLower(SHA256.HashData(Content));

    [TestMethod]
    public async Task Blob_Uploaded_IsDownloadedFromAnyOffset()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var artifact = await UploadAsync(coordinator, Content, Id, Content.Length);
        Assert.AreEqual(new Artifact { Id = Id, SizeBytes = Content.Length }, artifact);

        foreach (var offset in new[] { 0, 1_000_000, Content.Length })
        {
            var (bytes, first) = await DownloadAsync(coordinator, Id, offset);
            CollectionAssert.AreEqual(Content[offset..], bytes);
            Assert.AreEqual(Content.Length, first.TotalBytes);
            Assert.AreEqual(Id, first.Id);
        }
    }

    [TestMethod]
    [DataRow(0, 1)]
    [DataRow(1_000_000, 600_000)]
    [DataRow(2_000_000, int.MaxValue)]
    [DataRow(2_500_000, 1)]
    public async Task Blob_Uploaded_IsDownloadedInParts(int offset, int length)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await UploadAsync(coordinator, Content, Id, Content.Length);

        var (bytes, first) = await DownloadAsync(coordinator, Id, offset, length: length);

        CollectionAssert.AreEqual(Content.Skip(offset).Take(length).ToArray(), bytes);
        Assert.AreEqual(Content.Length, first.TotalBytes);
    }

    [TestMethod]
    public async Task Blob_UploadedAgain_IsAnsweredBeforeItsEnd()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await UploadAsync(coordinator, Content, Id, Content.Length);

        using var call = coordinator.Blobs.Upload();
        await call.RequestStream.WriteAsync(new Chunk { Id = Id, TotalBytes = Content.Length });

        Assert.AreEqual(Id, (await call.ResponseAsync.Within()).Artifact.Id);
    }

    [TestMethod]
    public async Task Blob_WithAnotherHash_IsThrownAway()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var error = await UploadAsync(coordinator, Content, new string('c', 64), Content.Length).Fails(StatusCode.DataLoss);

        StringAssert.Contains(error.Status.Detail, $"came with the hash \"{Id}\"");
        Assert.IsEmpty(Directory.EnumerateFiles(Path.Combine(coordinator.DataFolder, "blobs")));
    }

    [TestMethod]
    [DataRow(-1)]
    [DataRow(1)]
    public async Task Blob_OfAnotherSize_IsThrownAway(int difference)
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var error = await UploadAsync(coordinator, Content, Id, Content.Length + difference).Fails(StatusCode.DataLoss);

        StringAssert.Contains(error.Status.Detail, $"expected {Content.Length + difference}");
    }

    [TestMethod]
    public async Task Blob_CutByTheClient_LeavesNothing()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var folder = Path.Combine(coordinator.DataFolder, "blobs");
        using (var call = coordinator.Blobs.Upload())
        {
            await call.RequestStream.WriteAsync(new Chunk { Id = Id, TotalBytes = Content.Length, Data = ByteString.CopyFrom(Content, 0, 1000) });
            await Eventually.UntilAsync(coordinator, () => FilesAsync(coordinator, folder), files => files == 1);
        }

        await Eventually.UntilAsync(coordinator, () => FilesAsync(coordinator, folder), files => files == 0);
    }

    [TestMethod]
    [DataRow("../coordinator.db", StatusCode.InvalidArgument)]
    [DataRow("dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd", StatusCode.NotFound)]
    public async Task Download_OfWhatIsNoBlob_IsRefused(string id, StatusCode code)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        using var call = coordinator.Blobs.Download(new DownloadRequest { Id = id });

        await call.ResponseStream.MoveNext(CancellationToken.None).Fails(code);
    }

    [TestMethod]
    public async Task Download_OfADataset_IsItsFile()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        await Specs.AddDatasetAsync(coordinator);

        var (bytes, _) = await DownloadAsync(coordinator, Specs.DatasetId, 0, BlobKind.Dataset);

        CollectionAssert.AreEqual(TestDatasets.Small.File, bytes);
    }

    // A call in between, so that the answer is newer than what the coordinator was doing.
    private static async Task<int> FilesAsync(TestCoordinator coordinator, string folder)
    {
        await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
        return Directory.GetFiles(folder).Length;
    }

    private static async Task<Artifact> UploadAsync(TestCoordinator coordinator, byte[] content, string id, long total)
    {
        using var call = coordinator.Blobs.Upload();
        var first = true;
        foreach (var part in content.Chunk(1 << 20))
        {
            await Bounded.WrittenOrAnswered(call.RequestStream.WriteAsync(new Chunk { Id = first ? id : "", TotalBytes = first ? total : 0, Data = ByteString.CopyFrom(part) }));
            first = false;
        }

        await Bounded.WrittenOrAnswered(call.RequestStream.CompleteAsync());
        return (await call.ResponseAsync.Within()).Artifact;
    }

    private static async Task<(byte[] Bytes, Chunk First)> DownloadAsync(TestCoordinator coordinator, string id, long offset, BlobKind kind = BlobKind.Artifact, long length = 0)
    {
        using var call = coordinator.Blobs.Download(new DownloadRequest { Id = id, Offset = offset, Kind = kind, Length = length });
        using var bytes = new MemoryStream();
        Chunk? first = null;
        while (await call.ResponseStream.MoveNext(CancellationToken.None).Within())
        {
            first ??= call.ResponseStream.Current;
            call.ResponseStream.Current.Data.WriteTo(bytes);
        }

        return (bytes.ToArray(), first!);
    }

    private static byte[] RandomContent(int length)
    {
        var bytes = new byte[length];
        new Random(1).NextBytes(bytes);
        return bytes;
    }
}
