using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;

namespace Training.Tests.Data;

[TestClass]
public sealed class DatasetFileTests
{
    [TestMethod, DataRow(true, 100), DataRow(false, 100), DataRow(true, 1000), DataRow(false, 1)]
    public async Task Rows_OfAFileThatArrowWrote_AreWhatArrowReads(bool weights, int rowsPerBatch)
    {
        using var folder = new TempFolder();
        var path = folder["data"];
        Datasets.Write(path, 3, 257, i => [i, float.NaN, -i], i => i % 4, weights ? i => i + 0.5f : null, rowsPerBatch);
        using var file = new DatasetFile(path);
        Assert.AreEqual(257, file.RowCount);
        Assert.AreEqual(3, file.FeatureSize);
        Assert.AreEqual(weights, file.HasWeights);

        await using var stream = File.OpenRead(path);
        using var reader = new ArrowFileReader(stream);
        var row = 0L;
        while (await reader.ReadNextRecordBatchAsync() is { } batch)
        {
            var features = (FloatArray)((FixedSizeListArray)batch.Column(0)).Values;
            for (var i = 0; i < batch.Length; i++, row++)
            {
                CollectionAssert.AreEqual(features.Values.Slice(3 * i, 3).ToArray(), Row(file, row));
                Assert.AreEqual(((FloatArray)batch.Column(1)).GetValue(i), file.Label(row));
                Assert.AreEqual(weights ? ((FloatArray)batch.Column(2)).GetValue(i)!.Value : 1.0, file.Weight(row));
            }
        }

        Assert.AreEqual(257, row);
    }

    [TestMethod]
    public unsafe void Rows_OfBytes_AreWhatWasWritten()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 3, 257, i => [i % 256, 255, 0], i => i % 4, i => i + 0.5f, 100, FeatureElement.UInt8);
        using var file = new DatasetFile(folder["data"]);

        Assert.AreEqual(FeatureElement.UInt8, file.Element);
        for (var row = 0; row < 257; row++)
        {
            CollectionAssert.AreEqual(new byte[] { (byte)(row % 256), 255, 0 }, new Span<byte>(file.Bytes(row), 3).ToArray());
            Assert.AreEqual((row % 4, row + 0.5), (file.Label(row), file.Weight(row)));
        }
    }

    [TestMethod]
    public void Open_NoRows_HasNone()
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 3, 0, _ => [], _ => 0);
        using var file = new DatasetFile(folder["data"]);
        Assert.AreEqual(0, file.RowCount);
    }

    [TestMethod, DataRow(FeatureElement.Float32), DataRow(FeatureElement.UInt8)]
    public void Open_AnyCutOrFlippedFile_ThrowsFormatExceptionOrReads(FeatureElement element)
    {
        using var folder = new TempFolder();
        Datasets.Write(folder["data"], 3, 50, i => [i, i, i], i => i % 2, element: element);
        var whole = File.ReadAllBytes(folder["data"]);
        for (var length = 0; length < whole.Length; length += 37)
        {
            File.WriteAllBytes(folder["cut"], whole[..length]);
            Assert.ThrowsExactly<FormatException>(() => new DatasetFile(folder["cut"]).Dispose());
        }

        for (var at = whole.Length - 700; at < whole.Length; at++)
        {
            var flipped = whole.ToArray();
            flipped[at] ^= 0x55;
            File.WriteAllBytes(folder["flipped"], flipped);
            try
            {
                using var file = new DatasetFile(folder["flipped"]);
                for (var row = 0L; row < Math.Min(file.RowCount, 100); row++)
                    _ = Row(file, row);
            }
            catch (FormatException)
            {
                // What a broken file should end in.
            }
        }
    }

    // Read to the last byte, which faults where it is outside of the file.
    private static unsafe float[] Row(DatasetFile file, long row) => file.Element == FeatureElement.UInt8
        ? System.Array.ConvertAll(new Span<byte>(file.Bytes(row), file.FeatureSize).ToArray(), b => (float)b)
        : new Span<float>(file.Features(row), file.FeatureSize).ToArray();
}
