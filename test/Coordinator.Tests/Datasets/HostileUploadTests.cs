using System.Buffers.Binary;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using Google.Protobuf;
using MLDistributed.Coordinator.Flight;

namespace MLDistributed.Coordinator.Tests.Datasets;

/// <summary>Uploads whose Arrow metadata lies: each is refused in a sentence, and nothing is allocated by what it says.</summary>
[TestClass]
public sealed class HostileUploadTests
{
    private static readonly Method<FlightData, PutResult> DoPut = new(
        MethodType.DuplexStreaming, "arrow.flight.protocol.FlightService", "DoPut",
        Marshallers.Create(m => m.ToByteArray(), FlightData.Parser.ParseFrom), Marshallers.Create(m => m.ToByteArray(), PutResult.Parser.ParseFrom));

    private static readonly byte[] Schema = Metadata(DatasetSchema.Create(4, hasWeights: false));

    [TestMethod]
    public async Task Schema_ThatClaimsABillionChildren_IsRefused()
    {
        // Wherever a count may be: each four bytes become 1.4e9 in turn.
        await using var coordinator = await TestCoordinator.StartAsync();
        var invoker = coordinator.Connect().Invoker;
        var before = GC.GetTotalAllocatedBytes();
        for (var at = 0; at < Schema.Length - 4; at += 4)
        {
            var schema = Schema.ToArray();
            BinaryPrimitives.WriteInt32LittleEndian(schema.AsSpan(at), 1_400_000_000);
            await SendAsync(invoker, [First(schema)], StatusCode.InvalidArgument, StatusCode.DataLoss);
        }

        // Of all tests that run now; one such claim that was believed would be more.
        Assert.IsLessThan(2L << 30, GC.GetTotalAllocatedBytes() - before);
    }

    [TestMethod]
    public async Task Schema_NestedThousandsDeep_IsRefused()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        IArrowType type = FloatType.Default;
        for (var i = 0; i < 100; i++)
            type = new FixedSizeListType(new Field("item", type, nullable: false), 1);
        var deep = new Schema.Builder().Field(new Field(DatasetSchema.Features, type, nullable: false)).Field(new Field(DatasetSchema.Label, FloatType.Default, nullable: false)).Build();

        var status = await SendAsync(coordinator.Connect().Invoker, [First(Metadata(deep))], StatusCode.InvalidArgument);
        StringAssert.Contains(status.Detail, "has another column where \"features\" is due");

        status = await SendAsync(coordinator.Connect().Invoker, [First(new byte[1_200_000])], StatusCode.InvalidArgument);
        StringAssert.Contains(status.Detail, "expected at most 16,384");
    }

    [TestMethod]
    [DataRow(1, DisplayName = "Int32 features"), DataRow(2, DisplayName = "a dictionary"), DataRow(3, DisplayName = "one column"), DataRow(4, DisplayName = "another name"), DataRow(5, DisplayName = "signed bytes"), DataRow(6, DisplayName = "whole numbers of 16 bits")]
    public async Task Schema_OfOtherData_IsRefusedWithWhatIsExpected(int kind)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        IArrowType item = kind switch { 1 => Int32Type.Default, 5 => Int8Type.Default, 6 => UInt16Type.Default, _ => FloatType.Default };
        var builder = new Schema.Builder().Field(new Field(kind == 4 ? "feature" : DatasetSchema.Features, new FixedSizeListType(new Field("item", item, nullable: false), 4), nullable: false));
        if (kind != 3)
            builder.Field(new Field(DatasetSchema.Label, kind == 2 ? new DictionaryType(Int32Type.Default, StringType.Default, false) : FloatType.Default, nullable: false));

        var status = await SendAsync(coordinator.Connect().Invoker, [First(Metadata(builder.Build()))], StatusCode.InvalidArgument);

        StringAssert.Contains(status.Detail, DatasetSchema.Expected);
    }

    // It counts what the whole process allocates.
    [TestMethod, DoNotParallelize, DataRow(FeatureElement.Float32), DataRow(FeatureElement.UInt8)]
    public async Task Batch_WhoseMetadataLies_IsRefusedOrIsOtherData(FeatureElement element)
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var invoker = coordinator.Connect().Invoker;
        var (metadata, body) = Batch();
        var schema = Metadata(DatasetSchema.Create(new DatasetShape(4, HasWeights: false, element)));
        var before = GC.GetTotalAllocatedBytes();
        foreach (var value in new[] { 1_400_000_000, -1, int.MinValue, 0 })
            for (var at = 0; at < metadata.Length - 4; at += 4)
            {
                var lie = metadata.ToArray();
                BinaryPrimitives.WriteInt32LittleEndian(lie.AsSpan(at), value);
                if (!lie.AsSpan().SequenceEqual(metadata))
                    await SendAsync(invoker, [First(schema), new FlightData { DataHeader = ByteString.CopyFrom(lie), DataBody = ByteString.CopyFrom(body) }], StatusCode.InvalidArgument, StatusCode.DataLoss, StatusCode.OK);
            }

        Assert.IsLessThan(2L << 30, GC.GetTotalAllocatedBytes() - before);
    }

    [TestMethod]
    public async Task Upload_AsTheFormatHasIt_IsTaken()
    {
        await using var coordinator = await TestCoordinator.StartAsync();
        var (metadata, body) = Batch();

        await SendAsync(coordinator.Connect().Invoker, [First(Schema), new FlightData { DataHeader = ByteString.CopyFrom(metadata), DataBody = ByteString.CopyFrom(body) }], StatusCode.OK);

        Assert.IsTrue((await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = TestDatasets.Small.Id }).Within()).Complete);
    }

    private static async Task<Status> SendAsync(CallInvoker invoker, IEnumerable<FlightData> messages, params StatusCode[] expected)
    {
        var headers = new Metadata { { "mldist-first-batch", "0" }, { "mldist-rows", "10" } };
        using var call = invoker.AsyncDuplexStreamingCall(DoPut, null, new CallOptions(headers));
        foreach (var message in messages)
            await Bounded.WrittenOrAnswered(call.RequestStream.WriteAsync(message));
        await Bounded.WrittenOrAnswered(call.RequestStream.CompleteAsync());
        var status = Status.DefaultSuccess;
        try
        {
            while (await call.ResponseStream.MoveNext(CancellationToken.None).Within())
            {
                // One empty result when the dataset is complete.
            }
        }
        catch (RpcException e)
        {
            status = e.Status;
        }

        Assert.Contains(status.StatusCode, expected, status.Detail);
        return status;
    }

    private static FlightData First(byte[] schema) => new()
    {
        FlightDescriptor = new FlightDescriptor { Type = FlightDescriptor.Types.DescriptorType.Path, Path = { TestDatasets.Small.Id } },
        DataHeader = ByteString.CopyFrom(schema),
    };

    // What Arrow itself writes, without the length before it.
    private static byte[] Metadata(Schema schema)
    {
        using var stream = new MemoryStream();
        using (var writer = new ArrowStreamWriter(stream, schema, leaveOpen: true))
            writer.WriteStart();
        return stream.ToArray()[8..];
    }

    private static (byte[] Metadata, byte[] Body) Batch()
    {
        using var reader = new ArrowFileReader(new MemoryStream(TestDatasets.Small.File));
        using var batch = reader.ReadNextRecordBatch();
        using var stream = new MemoryStream();
        using (var writer = new ArrowStreamWriter(stream, batch.Schema, leaveOpen: true))
            writer.WriteRecordBatch(batch);
        var message = stream.ToArray()[(Schema.Length + 8)..];
        var length = BinaryPrimitives.ReadInt32LittleEndian(message.AsSpan(4));
        return (message[8..(8 + length)], message[(8 + length)..]);
    }
}
