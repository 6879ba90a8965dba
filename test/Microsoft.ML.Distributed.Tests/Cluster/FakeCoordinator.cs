using System.Collections.Concurrent;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Apache.Arrow.Flight;
using Apache.Arrow.Flight.Server;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>What a fake coordinator does and what it saw. Outlives its server, as a database does.</summary>
internal sealed class Script
{
    /// <summary>The job of <see cref="Model"/>.</summary>
    public static readonly JobSpec Spec = new()
    {
        Name = "test",
        Epochs = 3,
        Task = MlTask.Regression,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 40, HiddenSizes = { 30 }, OutputSize = 1 } },
    };

    /// <summary>Some 5,000 bytes.</summary>
    public static readonly byte[] Model = OnnxMlpWriter.Write(Spec, RandomNetworks.Weights(new Random(1), Spec.Module.Mlp)).ToByteArray();

    public static readonly string ModelId = Convert.ToHexStringLower(SHA256.HashData(Model));

    /// <summary>The key to be asked for; null: none.</summary>
    public string? Key { get; init; }

    public string? DeniedScope { get; init; }

    public int Protocol { get; init; } = ProtocolVersion.Current;

    public bool AdoptsFiles { get; init; }

    public string IncomingFolder { get; init; } = "";

    /// <summary>What SubmitJob refuses.</summary>
    public string? Refusal { get; init; }

    /// <summary>The events of the job, in order. The watch stays open behind the last unless that ends the job.</summary>
    public List<JobEvent> Events { get; init; } = [.. Succeeding()];

    /// <summary>Breaks the watch once, behind the event with this sequence.</summary>
    public int CutWatchAfter { get; set; }

    /// <summary>Breaks an upload once, behind this many batches.</summary>
    public int CutUploadAfter { get; set; }

    /// <summary>Breaks the upload of a file once, behind this many bytes.</summary>
    public int CutFileAfter { get; set; }

    /// <summary>Breaks a download once, behind this many bytes.</summary>
    public int CutDownloadAfter { get; set; }

    /// <summary>Loses the reply of the first SubmitJob.</summary>
    public bool LoseSubmitReply { get; set; }

    /// <summary>Loses the reply of AdoptDataset.</summary>
    public bool LoseAdoptReply { get; init; }

    /// <summary>Finds the first whole upload damaged, and throws it away.</summary>
    public bool DamageUpload { get; set; }

    /// <summary>Answers an upload before it is read: with success when empty, else refusing it.</summary>
    public string? EarlyUploadAnswer { get; init; }

    public byte[] Served { get; init; } = Model;

    /// <summary>What GetJob tells of the job's; null: nothing.</summary>
    public JobSpec? Attached { get; init; }

    /// <summary>What the first chunk of a download says of its size; 0: nothing.</summary>
    public long ServedTotal { get; init; }

    /// <summary>CancelJob never answers.</summary>
    public bool HangCancel { get; init; }

    /// <summary>Refuses the first call of every method for the moment.</summary>
    public bool IsCrowded { get; init; }

    /// <summary>Methods, blanks between, that are taken and never answered.</summary>
    public string? Hangs { get; init; }

    /// <summary>Ends when the job was asked for some times.</summary>
    public TaskCompletionSource AskedOften { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public TaskCompletionSource Hung { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public ConcurrentQueue<string> Calls { get; } = new();

    public ConcurrentDictionary<string, string> JobsByRequest { get; } = new();

    public List<byte[]> Batches { get; } = [];

    public List<long> FirstBatches { get; } = [];

    /// <summary>Those that came whole.</summary>
    public List<(string Id, byte[] Content)> JobFiles { get; } = [];

    public bool HasDataset { get; set; }

    public string? AdoptedPath { get; set; }

    public TaskCompletionSource Watched { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public TaskCompletionSource<string> Cancelled { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static IEnumerable<JobEvent> Succeeding() => Succeeding(new Artifact { Id = ModelId, SizeBytes = Model.Length });

    public static IEnumerable<JobEvent> Succeeding(Artifact model)
    {
        yield return new JobEvent { State = new StateChanged { State = JobState.Queued, Reason = "Waits for 2 devices." } };
        yield return new JobEvent { State = new StateChanged { State = JobState.Running, WorldSize = 2 }, Attempt = 1 };
        yield return new JobEvent { Progress = new Progress { Epoch = 0, Step = 5, TotalSteps = 10, Loss = 0.5, LearningRate = 0.001, RowsPerSecond = 1000, Recent = { Enumerable.Range(1, 5).Select(i => new MLDistributed.Protocol.StepLoss { Step = i, Loss = 1 - i / 10.0 }) } } };
        yield return new JobEvent { Epoch = new EpochEnded { Epoch = 0, TrainingLoss = 0.4, ValidationLoss = 0.6, IsBest = true, Seconds = 0.1 } };
        yield return new JobEvent { Log = new LogLine { Level = LogLevel.Info, Source = "rank 1", Message = "hello" } };
        var result = new JobResult { WorldSize = 2, Steps = 10, Epochs = 1, TrainingLoss = 0.4, ValidationLoss = 0.6 };
        result.Artifacts.Add(ArtifactName.Onnx, model);
        yield return new JobEvent { State = new StateChanged { State = JobState.Succeeded, Result = result } };
    }
}

/// <summary>A coordinator in this process that follows a script, over a loopback port or a Unix socket.</summary>
internal sealed class FakeCoordinator : IAsyncDisposable
{
    private readonly WebApplication _app;

    private FakeCoordinator(WebApplication app, Uri address, Script script)
    {
        Script = script;
        _app = app;
        Address = address;
    }

    public Uri Address { get; }

    public Script Script { get; }

    public static async Task<FakeCoordinator> StartAsync(Script script, string? socket = null, int port = 0, X509Certificate2? certificate = null)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            if (socket is not null)
                kestrel.ListenUnixSocket(socket, Listen);
            else
                kestrel.Listen(IPAddress.Loopback, port, Listen);
        });
        if (certificate is not null)
            builder.WebHost.UseKestrelHttpsConfiguration();
        builder.Services.AddRoutingCore();
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(o => o.ShutdownTimeout = TimeSpan.Zero);
        builder.Services.AddSingleton(script);
        builder.Services.AddGrpc(o =>
        {
            o.Interceptors.Add<Doorman>();
            o.MaxReceiveMessageSize = null;
        }).AddFlightServer<FakeFlight>();
        var app = builder.Build();
        app.MapGrpcService<FakeJobs>();
        app.MapGrpcService<FakeDatasets>();
        app.MapGrpcService<FakeBlobs>();
        app.MapFlightEndpoint();
        await app.StartAsync();
        if (socket is not null)
            return new FakeCoordinator(app, UnixSocketAddress.Of(socket), script);
        var bound = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single());
        return new FakeCoordinator(app, new Uri($"{(certificate is null ? "http" : "https")}://127.0.0.1:{bound.Port}"), script);

        void Listen(ListenOptions listen)
        {
            listen.Protocols = HttpProtocols.Http2;
            if (certificate is not null)
                listen.UseHttps(certificate);
        }
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    /// <summary>Asks for the key and the version, as the real one does.</summary>
    private sealed class Doorman(Script script) : Interceptor
    {
        public override async Task<TResponse> UnaryServerHandler<TRequest, TResponse>(TRequest request, ServerCallContext context, UnaryServerMethod<TRequest, TResponse> continuation)
        {
            Check(context);
            await HangAsync(context);
            return await continuation(request, context);
        }

        public override async Task ServerStreamingServerHandler<TRequest, TResponse>(TRequest request, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, ServerStreamingServerMethod<TRequest, TResponse> continuation)
        {
            Check(context);
            await HangAsync(context);
            await continuation(request, responseStream, context);
        }

        public override async Task<TResponse> ClientStreamingServerHandler<TRequest, TResponse>(IAsyncStreamReader<TRequest> requestStream, ServerCallContext context, ClientStreamingServerMethod<TRequest, TResponse> continuation)
        {
            Check(context);
            await HangAsync(context);
            return await continuation(requestStream, context);
        }

        public override async Task DuplexStreamingServerHandler<TRequest, TResponse>(IAsyncStreamReader<TRequest> requestStream, IServerStreamWriter<TResponse> responseStream, ServerCallContext context, DuplexStreamingServerMethod<TRequest, TResponse> continuation)
        {
            Check(context);
            await HangAsync(context);
            await continuation(requestStream, responseStream, context);
        }

        private async Task HangAsync(ServerCallContext context)
        {
            if (script.Hangs?.Split(' ').Contains(context.Method.Split('/')[^1]) != true)
                return;
            script.Hung.TrySetResult();
            await Task.Delay(Timeout.Infinite, context.CancellationToken);
        }

        private void Check(ServerCallContext context)
        {
            script.Calls.Enqueue(context.Method.Split('/')[^1]);
            if (script.IsCrowded && script.Calls.Count(c => c == context.Method.Split('/')[^1]) == 1)
                throw Pushback.Refusal("There is no room for it. Try again in a moment.", TimeSpan.FromMilliseconds(20));
            if (script.Calls.Count(c => c == "GetJob") > 5)
                script.AskedOften.TrySetResult();
            if (context.RequestHeaders.GetValue(ProtocolVersion.Header) != $"{script.Protocol}")
                throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Protocol version is {context.RequestHeaders.GetValue(ProtocolVersion.Header)}, expected {script.Protocol}."));
            if (script.Key is not null && context.RequestHeaders.GetValue("authorization") != $"Bearer {script.Key}")
                throw new RpcException(new Status(StatusCode.Unauthenticated, "This key is not known."));
            if (script.DeniedScope is not null && !context.Method.EndsWith("GetCluster", StringComparison.Ordinal))
                throw new RpcException(new Status(StatusCode.PermissionDenied, $"The key lacks the scope \"{script.DeniedScope}\"."));
        }
    }

    private sealed class FakeJobs(Script script) : Jobs.JobsBase
    {
        public override Task<ClusterSnapshot> GetCluster(GetClusterRequest request, ServerCallContext context)
        {
            var worker = new WorkerSnapshot { Id = "w1", Host = "here", Status = "ready" };
            worker.Devices.Add(new Device { Slot = 0, Kind = DeviceKind.Cpu, Name = "core" });
            var cluster = new ClusterSnapshot { Version = "fake", ProtocolVersion = script.Protocol, QueuedJobs = 3, RunningJobs = 1 };
            cluster.Workers.Add(worker);
            return Task.FromResult(cluster);
        }

        public override Task<SubmitJobReply> SubmitJob(SubmitJobRequest request, ServerCallContext context)
        {
            if (script.Refusal is not null)
                throw new RpcException(new Status(StatusCode.InvalidArgument, script.Refusal));
            var id = script.JobsByRequest.GetOrAdd(request.RequestId, _ => $"job-{script.JobsByRequest.Count + 1}");
            if (script.LoseSubmitReply)
            {
                script.LoseSubmitReply = false;
                throw Broken();
            }

            return Task.FromResult(new SubmitJobReply { JobId = id });
        }

        public override async Task WatchJob(WatchJobRequest request, IServerStreamWriter<JobEvent> responseStream, ServerCallContext context)
        {
            for (var i = (int)request.AfterSequence; i < script.Events.Count; i++)
            {
                var e = script.Events[i].Clone();
                e.Sequence = i + 1;
                await responseStream.WriteAsync(e, context.CancellationToken);
                if (script.CutWatchAfter == i + 1)
                {
                    script.CutWatchAfter = 0;
                    throw Broken();
                }
            }

            script.Watched.TrySetResult();
            if (script.Events.LastOrDefault()?.State?.State is not (JobState.Succeeded or JobState.Failed or JobState.Cancelled))
                await Task.Delay(Timeout.Infinite, context.CancellationToken);
        }

        public override Task<JobSnapshot> GetJob(GetJobRequest request, ServerCallContext context) =>
            Task.FromResult(new JobSnapshot { Id = request.JobId, State = JobState.Running, Spec = script.Attached });

        public override async Task<JobSnapshot> CancelJob(CancelJobRequest request, ServerCallContext context)
        {
            if (request.JobId.Length == 0)
                throw new RpcException(new Status(StatusCode.NotFound, "There is no such job."));
            script.Cancelled.TrySetResult(request.JobId);
            if (script.HangCancel)
                await Task.Delay(Timeout.Infinite, context.CancellationToken);
            return new JobSnapshot { Id = request.JobId, State = JobState.Cancelled };
        }
    }

    private sealed class FakeDatasets(Script script) : Datasets.DatasetsBase
    {
        public override Task<FindDatasetReply> FindDataset(FindDatasetRequest request, ServerCallContext context) => Task.FromResult(new FindDatasetReply
        {
            Complete = script.HasDataset,
            ReceivedBatches = script.Batches.Count,
            AdoptsFiles = script.AdoptsFiles,
            IncomingFolder = script.IncomingFolder,
        });

        public override Task<FindDatasetReply> AdoptDataset(AdoptDatasetRequest request, ServerCallContext context)
        {
            if (script.AdoptedPath is not null)
                throw new RpcException(new Status(StatusCode.InvalidArgument, $"Path \"{request.Path}\" does not exist."));
            script.AdoptedPath = request.Path;
            File.Delete(request.Path);
            script.HasDataset = true;
            if (script.LoseAdoptReply)
                throw Broken();
            return Task.FromResult(new FindDatasetReply { Complete = true });
        }
    }

    private sealed class FakeBlobs(Script script) : Blobs.BlobsBase
    {
        public override async Task<UploadReply> Upload(IAsyncStreamReader<Chunk> requestStream, ServerCallContext context)
        {
            if (script.EarlyUploadAnswer is { Length: > 0 } answer)
                throw new RpcException(new Status(StatusCode.ResourceExhausted, answer));
            var (id, total) = ("", 0L);
            using var content = new MemoryStream();
            while (await requestStream.MoveNext(context.CancellationToken))
            {
                (id, total) = id.Length == 0 ? (requestStream.Current.Id, requestStream.Current.TotalBytes) : (id, total);
                content.Write(requestStream.Current.Data.Span);
                if (script.CutFileAfter > 0 && content.Length >= script.CutFileAfter)
                {
                    script.CutFileAfter = 0;
                    throw Broken();
                }
            }

            Assert.AreEqual(total, content.Length);
            script.JobFiles.Add((id, content.ToArray()));
            return new UploadReply { Artifact = new Artifact { Id = id, SizeBytes = total } };
        }

        public override async Task Download(DownloadRequest request, IServerStreamWriter<Chunk> responseStream, ServerCallContext context)
        {
            var served = script.JobFiles.Find(f => f.Id == request.Id).Content ?? script.Served;
            for (var at = (int)request.Offset; at < served.Length; at += 1000)
            {
                if (script.CutDownloadAfter > 0 && at >= script.CutDownloadAfter)
                {
                    script.CutDownloadAfter = 0;
                    throw Broken();
                }

                await responseStream.WriteAsync(new Chunk { TotalBytes = script.ServedTotal, Data = ByteString.CopyFrom(served.AsSpan(at, Math.Min(1000, served.Length - at))) });
            }
        }
    }

    private sealed class FakeFlight(Script script) : FlightServer
    {
        public override async Task DoPut(FlightServerRecordBatchStreamReader requestStream, IAsyncStreamWriter<FlightPutResult> responseStream, ServerCallContext context)
        {
            var descriptor = await requestStream.FlightDescriptor;
            var shape = DatasetSchema.Read(await requestStream.Schema);
            if (script.EarlyUploadAnswer is { } answer)
            {
                script.HasDataset = answer.Length == 0;
                if (answer.Length > 0)
                    throw new RpcException(new Status(StatusCode.InvalidArgument, answer));
                return; // another client was quicker
            }

            script.FirstBatches.Add(long.Parse(context.RequestHeaders.GetValue("mldist-first-batch")!));
            var isFirst = true;
            while (await requestStream.MoveNext(context.CancellationToken))
            {
                if (isFirst && requestStream.ApplicationMetadata.Last().ToStringUtf8() != context.RequestHeaders.GetValue("mldist-first-batch"))
                    throw new RpcException(new Status(StatusCode.InvalidArgument, "The first message's metadata is not the first batch's index."));
                isFirst = false;
                using var batch = requestStream.Current;
                script.Batches.Add(DatasetFiles.Serialize(batch));
                if (script.Batches.Count == script.CutUploadAfter)
                {
                    script.CutUploadAfter = 0;
                    throw Broken();
                }
            }

            if (script.DamageUpload)
            {
                script.DamageUpload = false;
                script.Batches.Clear();
                throw new RpcException(new Status(StatusCode.DataLoss, "The batches are damaged."));
            }

            using var hasher = new DatasetHasher(shape);
            foreach (var bytes in script.Batches)
                using (var batch = DatasetFiles.Deserialize(bytes))
                    hasher.Append(batch);
            if (hasher.Complete().Text != descriptor.Paths.Single() || hasher.RowCount != long.Parse(context.RequestHeaders.GetValue("mldist-rows")!))
                throw new RpcException(new Status(StatusCode.InvalidArgument, "The batches are not those of the id."));
            script.HasDataset = true;
        }
    }

    private static RpcException Broken() => new(new Status(StatusCode.Unavailable, "Broken by the script."));
}
