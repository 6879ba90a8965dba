using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using Grpc.Core;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>Ten rows that all jobs name.</summary>
internal static class SmallDataset
{
    private const int Rows = 10;
    private const int Features = 4;

    /// <summary>Gives it to the coordinator; the job to be submitted with it waits and stays, whoever watches.</summary>
    public static async Task<JobSpec> AdoptAsync(CallInvoker invoker)
    {
        using var batch = Batch(DatasetSchema.Create(Features, hasWeights: false), Rows, Features);
        using var hasher = new DatasetHasher(DatasetSchema.Read(batch.Schema));
        hasher.Append(batch);
        var id = hasher.Complete().Text;
        // The tenant that names it must have sent it: as the upload of a client.
        await UploadBench.PutAsync(new Apache.Arrow.Flight.Client.FlightClient(invoker), id, Rows, batch.Schema, [batch]).ConfigureAwait(false);
        return new JobSpec
        {
            Name = "load",
            Task = MlTask.Binary,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = Features, OutputSize = 1 } },
            Data = new DataSpec { DatasetId = id, RowCount = Rows },
            Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.1 },
            Epochs = 1,
            GlobalBatchSize = 4,
            MaxAttempts = 3,
            Resources = new ResourceSpec { MinRanks = 1, MaxRanks = 1 },
            DisconnectPolicy = DisconnectPolicy.Finish,
        };
    }

    public static RecordBatch Batch(Schema schema, int rows, int features)
    {
        var random = new Random(rows);
        var values = new float[rows * features];
        foreach (ref var value in values.AsSpan())
            value = random.NextSingle();
        var bytes = new byte[values.Length * sizeof(float)];
        Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length);
        var floats = new FloatArray(new ArrowBuffer(bytes), ArrowBuffer.Empty, values.Length, 0, 0);
        var labels = new FloatArray.Builder().AppendRange(Enumerable.Range(0, rows).Select(r => (float)(r % 2))).Build();
        return new RecordBatch(schema, [new FixedSizeListArray((FixedSizeListType)schema.FieldsList[0].DataType, rows, floats, ArrowBuffer.Empty, 0), labels], rows);
    }
}
