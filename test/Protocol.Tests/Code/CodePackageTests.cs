using System.IO.Compression;
using MLDistributed.Protocol;

namespace Protocol.Tests.Code;

[TestClass]
public sealed class CodePackageTests
{
    public static IEnumerable<object[]> Hostile =>
    [
        ["no zip", new byte[100], "cannot be read"],
        ["a path", Zip(z => Add(z, "../../evil.dll", 1)), "has a file \"../../evil.dll\", expected plain names"],
        ["a rooted path", Zip(z => Add(z, "/etc/evil.dll", 1)), "expected plain names"],
        ["another kind", Zip(z => Add(z, "evil.so", 1)), "has a file \"evil.so\""],
        ["the same twice", Zip(z => { Add(z, "a.dll", 1); Add(z, "A.dll", 1); }), "each once"],
        ["too many", Zip(z => { for (var i = 0; i <= CodePackage.MaxFiles; i++) Add(z, $"a{i}.dll", 0); }), "has 513 files, expected at most 512"],
        ["a bomb", Zip(z => Add(z, "a.dll", (int)CodePackage.MaxUnpackedBytes + 1)), "unpacks to more than 268,435,456 bytes"],
        ["cut off", CodePackage.Write([new("a.dll", new byte[1000])])[..^30], "cannot be read"],
    ];

    [TestMethod]
    public void Write_SameFilesInAnyOrder_MakesTheSameBytesThatReadGivesBack()
    {
        var files = new Dictionary<string, byte[]> { ["b.dll"] = [1, 2, 3], ["A.B-c_d+e.pdb"] = [], ["a.dll"] = new byte[100_000] };
        var package = CodePackage.Write(files);

        CollectionAssert.AreEqual(package, CodePackage.Write(files.Reverse()));
        var read = CodePackage.Read(package);
        Assert.HasCount(3, read);
        foreach (var (name, content) in files)
            CollectionAssert.AreEqual(content, read[name]);
    }

    [TestMethod]
    [DynamicData(nameof(Hostile))]
    public void Read_HostilePackage_IsRefused(string kind, byte[] package, string words) =>
        StringAssert.Contains(Assert.ThrowsExactly<FormatException>(() => CodePackage.Read(package), kind).Message, words);

    [TestMethod]
    public void Write_TooLarge_NamesTheLargest()
    {
        var random = new byte[CodePackage.MaxBytes + 1];
        new Random(1).NextBytes(random);
        var e = Assert.ThrowsExactly<ArgumentException>(() => CodePackage.Write([new("Big.dll", random), new("small.dll", [1])]));
        StringAssert.Contains(e.Message, "The largest are Big.dll (67,108,865)");
    }

    private static byte[] Zip(Action<ZipArchive> fill)
    {
        using var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
            fill(zip);
        return stream.ToArray();
    }

    private static void Add(ZipArchive zip, string name, int length)
    {
        using var stream = zip.CreateEntry(name, CompressionLevel.Fastest).Open();
        stream.Write(new byte[length]);
    }
}
