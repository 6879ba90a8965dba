using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;

namespace MLDistributed.Coordinator.Tests.Support;

internal static class Specs
{
    public static readonly string DatasetId = TestDatasets.Small.Id;

    public static JobSpec Valid(string name = "job", Action<JobSpec>? change = null)
    {
        var spec = new JobSpec
        {
            Name = name,
            Task = MlTask.Binary,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 4, OutputSize = 1 } },
            Data = new DataSpec { DatasetId = DatasetId, RowCount = 10 },
            Optimizer = new OptimizerSpec { Sgd = new SgdSpec(), LearningRate = 0.1 },
            Epochs = 2,
            GlobalBatchSize = 4,
            MaxAttempts = 3,
            Resources = new ResourceSpec { MinRanks = 1 },
            DisconnectPolicy = DisconnectPolicy.Finish,
        };
        change?.Invoke(spec);
        return spec;
    }

    /// <summary>Puts a dataset into the store, so that jobs may name it. Nobody reads it here.</summary>
    public static async Task AddDatasetAsync(TestCoordinator coordinator)
    {
        var found = await coordinator.Datasets.FindDatasetAsync(new FindDatasetRequest { DatasetId = DatasetId }).Within();
        var path = Path.Combine(found.IncomingFolder, "data.arrow");
        await File.WriteAllBytesAsync(path, TestDatasets.Small.File);
        await coordinator.Datasets.AdoptDatasetAsync(new AdoptDatasetRequest { DatasetId = DatasetId, Path = path, RowCount = 10 }).Within();
    }

    public static async Task<string> SubmitAsync(TestCoordinator coordinator, JobSpec? spec = null, string requestId = "")
    {
        var reply = await coordinator.Jobs.SubmitJobAsync(new SubmitJobRequest { Spec = spec ?? Valid(), RequestId = requestId }).Within();
        return reply.JobId;
    }

    public static Task<Artifact> UploadAsync(TestCoordinator coordinator, string content) => UploadAsync(coordinator.Blobs, Encoding.UTF8.GetBytes(content));

    /// <param name="blobs">Whose store.</param>
    /// <param name="content">What is sent.</param>
    /// <param name="id">What it claims to be; null: what it is.</param>
    public static async Task<Artifact> UploadAsync(Protocol.Blobs.BlobsClient blobs, byte[] content, string? id = null)
    {
        using var call = blobs.Upload();
        await Bounded.WrittenOrAnswered(call.RequestStream.WriteAsync(new Chunk { Id = id ?? Convert.ToHexStringLower(SHA256.HashData(content)), TotalBytes = content.Length, Data = ByteString.CopyFrom(content) }));
        await Bounded.WrittenOrAnswered(call.RequestStream.CompleteAsync());
        return (await call.ResponseAsync.Within()).Artifact;
    }
}
