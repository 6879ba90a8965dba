using System.IO.MemoryMappedFiles;
using MLDistributed.Training.Native;

namespace Training.Tests.Native;

[TestClass]
public sealed class HugeCodeTests
{
    private const int HugePage = 2 << 20;

    [TestMethod]
    public void Prepare_FileInSmallPages_IsMappedInHugeOnesFromThenOn()
    {
        using var folder = new TempFolder();
        var content = new byte[4 * HugePage];
        new Random(1).NextBytes(content);
        // Pieces of a page each make small pages, and only what is on the disk can be read anew.
        using (var file = File.Create(folder["library"], bufferSize: 0))
        {
            for (var at = 0; at < content.Length; at += 4096)
                file.Write(content, at, 4096);
            file.Flush(flushToDisk: true);
        }

        var before = HugeBytes(folder["library"]);
        if (!HugeCode.Prepare(folder["library"]))
            Assert.Inconclusive("This system's temporary folder does not keep files in huge pages.");
        Assert.IsLessThanOrEqualTo(content.Length / 2, before, "It was in huge pages already.");
        Assert.IsGreaterThan(content.Length / 2, HugeBytes(folder["library"]));
        CollectionAssert.AreEqual(content, File.ReadAllBytes(folder["library"]));
        Assert.IsTrue(HugeCode.Prepare(folder["library"]), "Once more.");
    }

    [TestMethod]
    public async Task Prepare_ByManyAtOnce_IsOneAfterTheOther()
    {
        using var folder = new TempFolder();
        using (var file = File.Create(folder["library"]))
        {
            file.Write(new byte[2 * HugePage]);
            file.Flush(flushToDisk: true);
        }

        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => HugeCode.Prepare(folder["library"])))).WaitAsync(TimeSpan.FromMinutes(1));
        Assert.HasCount(1, answers.Distinct());
    }

    [TestMethod]
    public void Prepare_WhereItCannot_SaysSo()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["small"], "less than a huge page");
        Assert.IsFalse(HugeCode.Prepare(folder["small"]));
        Assert.IsFalse(HugeCode.Prepare(folder["none"]));
        Assert.IsFalse(HugeCode.Prepare(Path.Combine(folder["none"], "none")));
    }

    // As another process would map it.
    private static long HugeBytes(string path)
    {
        if (!File.Exists("/proc/self/smaps"))
            return 0;
        using var map = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
        using var view = map.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
        for (var at = 0L; at < view.Capacity; at += 4096)
            _ = view.ReadByte(at);
        var lines = File.ReadAllLines("/proc/self/smaps");
        return lines.Skip(Array.FindIndex(lines, l => l.EndsWith(path, StringComparison.Ordinal))).First(l => l.StartsWith("FilePmdMapped:", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries) is [_, var kilobytes, ..] ? 1024 * long.Parse(kilobytes, System.Globalization.CultureInfo.InvariantCulture) : 0;
    }
}
