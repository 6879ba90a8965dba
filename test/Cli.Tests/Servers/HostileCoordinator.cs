using System.Net;
using Google.Protobuf;
using Google.Protobuf.Reflection;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using MLDistributed.Protocol;

namespace Cli.Tests.Servers;

/// <summary>A server on a loopback port, for what a coordinator may be: one whose every text would draw on a terminal, or one that begins answers and does not go on.</summary>
internal sealed class HostileCoordinator : IAsyncDisposable
{
    /// <summary>Moves the cursor, rings, ends the line, turns text around, and claims to be a line of its own.</summary>
    public const string Text = "x\e[2J\a\r\u009B1m\u202Egp\u2066\u2028\nFORGED\u0085\u007F\u00AD\U000E0041";

    private readonly WebApplication _app;

    private HostileCoordinator(WebApplication app) => _app = app;

    public string Address => _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.Single();

    /// <summary>Ends when it was asked for its cluster.</summary>
    public Task Asked => _app.Services.GetRequiredService<Manners>().Asked.Task;

    /// <summary>Has a held answer go.</summary>
    public void Release() => _app.Services.GetRequiredService<Manners>().Released.TrySetResult();

    public static async Task<HostileCoordinator> StartAsync(bool answersWithHeadersOnly = false, bool refuses = false, bool isHeld = false)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http2));
        builder.Services.AddRoutingCore();
        builder.Services.Configure<Microsoft.Extensions.Hosting.HostOptions>(o => o.ShutdownTimeout = TimeSpan.Zero);
        builder.Services.AddSingleton(new Manners(refuses, isHeld));
        builder.Services.AddGrpc();
        var app = builder.Build();
        if (answersWithHeadersOnly)
        {
            app.Run(async context =>
            {
                context.Response.ContentType = "application/grpc";
                await context.Response.StartAsync();
                await Task.Delay(Timeout.Infinite, context.RequestAborted);
            });
        }
        else
        {
            app.MapGrpcService<HostileJobs>();
            app.MapGrpcService<HostileDatasets>();
        }

        await app.StartAsync();
        return new HostileCoordinator(app);
    }

    public async ValueTask DisposeAsync() => await _app.DisposeAsync();

    /// <summary>A message with every field set, and each text hostile.</summary>
    public static T Filled<T>(T message)
        where T : IMessage
    {
        foreach (var field in message.Descriptor.Fields.InDeclarationOrder().Where(f => f.ContainingOneof is null && !f.IsMap))
        {
            if (!field.IsRepeated)
                field.Accessor.SetValue(message, Value(field)!);
            else
                ((System.Collections.IList)field.Accessor.GetValue(message)).Add(Value(field));
        }

        return message;
    }

    private static object? Value(FieldDescriptor field) => field.FieldType switch
    {
        // An id that is none would be refused, and nothing shown.
        FieldType.String when WireLimits.Of(field).Kind is TextKind.Hash or TextKind.HashOrEmpty => new string('a', 64),
        FieldType.String when WireLimits.Of(field).Kind != TextKind.Any => new string('a', 32),
        FieldType.String => Text,
        FieldType.Message => Filled(field.MessageType.Parser.ParseFrom(ByteString.Empty)),
        FieldType.Enum => 1,
        FieldType.Int32 => 1,
        FieldType.Int64 => 1L,
        FieldType.UInt64 => 1UL,
        FieldType.Double => 1.0,
        FieldType.Float => 1f,
        FieldType.Bool => true,
        _ => throw new NotSupportedException($"{field.FieldType}"),
    };

    private sealed record Manners(bool Refuses, bool IsHeld)
    {
        public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public TaskCompletionSource Released { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        /// <summary>Answers when it is told to.</summary>
        public async Task<T> AnswerAsync<T>(T message)
            where T : IMessage
        {
            Asked.TrySetResult();
            if (IsHeld)
                await Released.Task;
            return Answer(message);
        }

        public T Answer<T>(T message)
            where T : IMessage => Refuses ? throw new RpcException(new Status(StatusCode.NotFound, Text)) : Filled(message);
    }

    private sealed class HostileJobs(Manners manners) : Jobs.JobsBase
    {
        public override Task<ClusterSnapshot> GetCluster(GetClusterRequest request, ServerCallContext context) => manners.AnswerAsync(new ClusterSnapshot());

        public override Task<JobSnapshot> GetJob(GetJobRequest request, ServerCallContext context) => Task.FromResult(Job());

        public override Task<ListJobsReply> ListJobs(ListJobsRequest request, ServerCallContext context)
        {
            var reply = new ListJobsReply();
            reply.Jobs.Add(Job());
            return Task.FromResult(reply);
        }

        public override Task<JobSnapshot> CancelJob(CancelJobRequest request, ServerCallContext context) => Task.FromResult(Job());

        public override async Task WatchJob(WatchJobRequest request, IServerStreamWriter<JobEvent> responseStream, ServerCallContext context)
        {
            foreach (var e in new JobEvent[]
            {
                new() { Log = Filled(new LogLine()) },
                new() { Progress = Filled(new Progress()) },
                new() { Epoch = Filled(new EpochEnded()) },
                new() { State = Filled(new StateChanged()) },
                new() { State = new StateChanged { State = JobState.Failed, Reason = Text, Failure = Filled(new JobFailure()) } },
            })
            {
                manners.Answer(e);
                await responseStream.WriteAsync(e, context.CancellationToken);
            }
        }

        private JobSnapshot Job()
        {
            var job = manners.Answer(new JobSnapshot());
            job.Result.Artifacts.Add(Text, Filled(new Artifact()));
            job.Spec.Module.Mlp = Filled(new MlpSpec());
            return job;
        }
    }

    private sealed class HostileDatasets(Manners manners) : Datasets.DatasetsBase
    {
        public override Task<ListDatasetsReply> ListDatasets(ListDatasetsRequest request, ServerCallContext context) => Task.FromResult(manners.Answer(new ListDatasetsReply()));
    }
}
