using MLDistributed.Worker.Peers;

namespace Worker.Tests.Peers;

[TestClass]
public sealed class FilePartsTests
{
    [TestMethod]
    public void Missing_OfParts_IsWhatIsBetweenThem()
    {
        var parts = new FileParts(100);
        parts.Add(new FileRange(40, 50), PartOrigin.Coordinator);
        parts.Add(new FileRange(0, 10), PartOrigin.Peer);
        parts.Add(new FileRange(50, 60), PartOrigin.Coordinator);
        parts.Add(new FileRange(60, 70), PartOrigin.Peer);

        Assert.AreEqual("10-40 70-100", Words(parts.Missing(new FileRange(0, 100))));
        Assert.AreEqual("20-40", Words(parts.Missing(new FileRange(20, 65))));
        Assert.AreEqual("", Words(parts.Missing(new FileRange(45, 70))));
        Assert.AreEqual((40L, 70L, 10L, 30L), (parts.Count, parts.EndAt(45), parts.EndAt(3), parts.EndAt(30)));
        Assert.AreEqual((20L, 20L, false), (parts.CountFrom(PartOrigin.Coordinator), parts.CountFrom(PartOrigin.Peer), parts.IsWhole));

        parts.KeepTheCoordinators();
        Assert.AreEqual("0-40 60-100", Words(parts.Missing(new FileRange(0, 100))));
    }

    [TestMethod]
    [DataRow(15, 45)]
    [DataRow(45, 46)]
    [DataRow(95, 101)]
    [DataRow(-1, 5)]
    public void Add_OfWhatIsHereOrOutside_Throws(long start, long end)
    {
        var parts = new FileParts(100);
        parts.Add(new FileRange(40, 50), PartOrigin.Coordinator);
        Assert.ThrowsExactly<ArgumentOutOfRangeException>(() => parts.Add(new FileRange(start, end), PartOrigin.Peer));
    }

    [TestMethod]
    [DataRow(0L, 3)]
    [DataRow(10L, 4)]
    [DataRow(1L << 50, 4096)]
    public void Shares_OfAFile_CoverItOnce(long total, int count)
    {
        var position = 0L;
        for (var place = 0; place < count; place++)
        {
            var share = FileParts.Share(total, place, count);
            Assert.AreEqual(position, share.Start);
            Assert.IsTrue(share.Length >= total / count && share.Length <= total / count + 1, $"{share}");
            position = share.End;
        }

        Assert.AreEqual(total, position);
    }

    [TestMethod]
    public void Notes_Read_AreTheSameParts()
    {
        var parts = new FileParts(100);
        parts.Add(new FileRange(40, 50), PartOrigin.Coordinator);
        parts.Add(new FileRange(0, 10), PartOrigin.Peer);

        var read = FileParts.Read(parts.ToString(), 100)!;

        Assert.AreEqual(parts.ToString(), read.ToString());
        Assert.AreEqual(20, read.CountFrom(PartOrigin.Before));
    }

    [TestMethod]
    [DataRow("")]
    [DataRow("99 0-10")]
    [DataRow("100 0-10 5-20")]
    [DataRow("100 10-10")]
    [DataRow("100 0-101")]
    [DataRow("100 -5-10")]
    [DataRow("100 0-1x")]
    public void Notes_OfSomethingElse_AreNone(string text) => Assert.IsNull(FileParts.Read(text, 100));

    private static string Words(IEnumerable<FileRange> ranges) => string.Join(' ', ranges.Select(r => $"{r.Start}-{r.End}"));
}
