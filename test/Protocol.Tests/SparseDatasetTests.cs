using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;

namespace Protocol.Tests;

/// <summary>Rows that name their non-zero features alone.</summary>
[TestClass]
public sealed class SparseDatasetTests
{
    private const int Size = 1_000_000;
    private static readonly (int, float)[][] Rows = [[(3, 1), (Size - 1, -2.5f)], [], [(0, 4), (1, 5), (7, 6)]];

    [TestMethod]
    public void Schema_Created_ReadsBackItsShape()
    {
        var shape = new DatasetShape(Size, HasWeights: true, IsSparse: true);
        Assert.AreEqual(shape, DatasetSchema.Read(DatasetSchema.Create(shape)));
        Assert.AreEqual(shape, DatasetMetadata.ReadSchema(Messages(DatasetSchema.Create(shape), null)[0].Metadata));
    }

    [TestMethod]
    public async Task File_Read_GivesTheRowsAndTheirHash()
    {
        var path = Path.GetTempFileName();
        try
        {
            SparseBatches.Write(path, Batch());
            using var hasher = new DatasetHasher(new DatasetShape(Size, HasWeights: false, IsSparse: true));
            hasher.Append(Batch());

            Assert.AreEqual((hasher.Complete(), 3L), await DatasetHasher.ReadAsync(path, CancellationToken.None));
            Assert.IsLessThan(4096, new FileInfo(path).Length);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [TestMethod]
    [DataRow(0, -1, DisplayName = "below the first slot"), DataRow(1, Size, DisplayName = "beyond the last"), DataRow(4, 1, DisplayName = "out of order"), DataRow(3, 0, DisplayName = "twice")]
    public void Batch_WithIndicesThatAreNone_IsRefused(int at, int index)
    {
        var (metadata, body) = Message();
        var layout = DatasetMetadata.ReadBatch(metadata, Shape, body.Length);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan((int)layout.IndicesAt + at * sizeof(int)), index is 1 ? 1 : index);
        if (index == 0)
            BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan((int)layout.IndicesAt + 2 * sizeof(int)), 1);

        var error = Assert.ThrowsExactly<FormatException>(() => Wrap(layout, body));

        StringAssert.Contains(error.Message, "not slots from 0 to 999999 in rising order");
    }

    [TestMethod]
    [DataRow(float.NaN), DataRow(float.PositiveInfinity), DataRow(float.NegativeInfinity)]
    public void Batch_WithValuesThatAreNoNumbers_IsRefused(float value)
    {
        var (metadata, body) = Message();
        var layout = DatasetMetadata.ReadBatch(metadata, Shape, body.Length);
        BinaryPrimitives.WriteSingleLittleEndian(body.AsSpan((int)layout.FeaturesAt + 8), value);

        Assert.ThrowsExactly<FormatException>(() => Wrap(layout, body));
    }

    // Every four bytes of metadata and body become these in turn: what is taken then is still sparse rows.
    [TestMethod]
    public void Message_ThatLiesAnywhere_IsRefusedOrOtherRows()
    {
        var (metadata, body) = Message();
        var taken = 0;
        foreach (var value in new[] { 1_400_000_000, -1, int.MinValue, 0, 2, 4 })
            for (var at = 0; at < metadata.Length + body.Length - 4; at += 4)
            {
                var (lie, rest) = (metadata.ToArray(), body.ToArray());
                BinaryPrimitives.WriteInt32LittleEndian(at < metadata.Length - 3 ? lie.AsSpan(at) : rest.AsSpan(Math.Min(at - lie.Length + 4, rest.Length - 4)), value);
                try
                {
                    using var batch = Wrap(DatasetMetadata.ReadBatch(lie, Shape, rest.Length), rest);
                    var list = (ListArray)batch.Column(0);
                    for (var row = 0; row < batch.Length; row++)
                        Assert.IsTrue(list.ValueOffsets[row] <= list.ValueOffsets[row + 1] && list.ValueOffsets[row + 1] <= list.Values.Length);
                    foreach (var index in ((Int32Array)((StructArray)list.Values).Fields[0]).Values)
                        Assert.IsTrue(index is >= 0 and < Size);
                    taken++;
                }
                catch (FormatException)
                {
                    // What a lie should end in.
                }
            }

        Assert.IsGreaterThan(0, taken);
    }

    [TestMethod]
    [DataRow("0"), DataRow("-5"), DataRow("16000001"), DataRow("99999999999999999999"), DataRow("4x"), DataRow("")]
    public void Schema_OfASizeThatIsNone_IsRefused(string size)
    {
        var fields = DatasetSchema.Create(Shape).FieldsList;
        var schema = new Schema.Builder().Field(new Field(fields[0].Name, fields[0].DataType, false, [new("size", size)])).Field(fields[1]).Build();

        Assert.ThrowsExactly<FormatException>(() => DatasetMetadata.ReadSchema(Messages(schema, null)[0].Metadata));
    }

    [TestMethod]
    public void Batch_OfMoreNonZerosThanAMessageHolds_IsRefused()
    {
        var rows = Enumerable.Range(0, 2).Select(_ => Enumerable.Range(0, 300_000).Select(i => (i, 1f)).ToArray()).ToArray();
        var (metadata, body) = Messages(Batch().Schema, SparseBatches.Make(Size, rows, [0, 1]))[1];

        var error = Assert.ThrowsExactly<FormatException>(() => DatasetMetadata.ReadBatch(metadata, Shape, body.Length));

        StringAssert.Contains(error.Message, "2 rows with 600000 non-zero features (at most 524288)");
    }

    private static DatasetShape Shape { get; } = new(Size, HasWeights: false, IsSparse: true);

    private static RecordBatch Batch() => SparseBatches.Make(Size, Rows, [0, 1, 0]);

    private static RecordBatch Wrap(BatchLayout layout, byte[] body) => DatasetReader.Wrap(DatasetSchema.Create(Shape), Shape, layout, body);

    private static (byte[] Metadata, byte[] Body) Message() => Messages(Batch().Schema, Batch())[1];

    // What Arrow itself writes: each message's length, its metadata, and a batch's body.
    private static List<(byte[] Metadata, byte[] Body)> Messages(Schema schema, RecordBatch? batch)
    {
        using var stream = new MemoryStream();
        using (var writer = new ArrowStreamWriter(stream, schema, leaveOpen: true))
        {
            writer.WriteStart();
            if (batch is not null)
                writer.WriteRecordBatch(batch);
        }

        var (bytes, messages) = (stream.ToArray(), new List<(byte[], byte[])>());
        var length = MemoryMarshal.Read<int>(bytes.AsSpan(4));
        messages.Add((bytes[8..(8 + length)], []));
        if (batch is null)
            return messages;
        var start = 8 + length;
        length = MemoryMarshal.Read<int>(bytes.AsSpan(start + 4));
        var end = bytes.Length - (BinaryPrimitives.ReadInt64LittleEndian(bytes.AsSpan(bytes.Length - 8)) == uint.MaxValue ? 8 : 0);
        messages.Add((bytes[(start + 8)..(start + 8 + length)], bytes[(start + 8 + length)..end]));
        return messages;
    }
}
