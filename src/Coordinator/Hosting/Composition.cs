using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Logging.Console;
using MLDistributed.Coordinator.Blobs;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Datasets;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Metrics;
using MLDistributed.Coordinator.Retention;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>The service's table of contents.</summary>
internal static class Composition
{
    private static readonly TimeSpan StopWithin = TimeSpan.FromSeconds(1.5);

    public static WebApplication Build(CoordinatorOptions options, DataFolder data)
    {
        // The empty builder: no configuration files, no environment, nothing that is started and not used.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = typeof(Composition).Assembly.GetName().Name, ContentRootPath = data.Path });
        var certificate = new Lazy<ServerCertificate>(() => ServerCertificate.Load(options, data.Path));
        var visitors = new Visitors();
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel => Listening.Configure(kestrel, options, visitors, () => certificate.Value));
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = StopWithin);
        builder.Services.AddRoutingCore();
        AddLogs(builder.Logging, options);
        builder.Services.AddSingleton(certificate);
        AddServices(builder.Services, options, data);

        var app = builder.Build();
        var calls = app.Services.GetRequiredService<CallDrain>();
        var gate = app.Services.GetRequiredService<CallGate>();
        app.Use(next => context => calls.CountAsync(context, next));
        app.Use(next => context => gate.PassAsync(context, next));
        app.UseRouting();
        app.MapGrpcService<JobsService>();
        app.MapGrpcService<AdministrationService>();
        app.MapGrpcService<DatasetsService>();
        app.MapGrpcService<BlobsService>();
        app.MapGrpcService<WorkersService>();
        app.MapGrpcService<DatasetFlightServer>();
        app.MapGrpcHealthChecksService();
        if (options.Urls.Count > 0)
            MetricsEndpoint.Map(app);
        if (data.WasOpenTo is { } mode)
            new HostLog(app.Logger).Tightened(data.Path, Convert.ToString((int)mode, 8));
        if (!app.Services.GetRequiredService<ClusterDatabase>().IsChecked)
            new HostLog(app.Logger).NotChecked(app.Services.GetRequiredService<ClusterDatabase>().Path);
        if (certificate.IsValueCreated || options.Urls.Any(u => u.StartsWith("https:", StringComparison.OrdinalIgnoreCase)))
            new HostLog(app.Logger).Certificate(certificate.Value.Fingerprint);
        return app;
    }

    private static void AddServices(IServiceCollection services, CoordinatorOptions options, DataFolder data)
    {
        services.AddSingleton(options).AddSingleton(options.Time).AddSingleton(data);
        services.AddSingleton(ClusterDatabase.Open(data, options)).AddSingleton<Journal>().AddSingleton<JobArchive>().AddSingleton<DatasetArchive>();
        services.AddSingleton<KeyRing>().AddSingleton<Ownership>();
        services.AddSingleton<CallGate>().AddSingleton<CallFailures>().AddSingleton<CallInterceptor>().AddSingleton<MessageBudget>();
        services.AddSingleton<Revocations>().AddHostedService(s => s.GetRequiredService<Revocations>());
        services.AddSingleton<BlobStore>().AddSingleton<DatasetStore>();
        services.AddSingleton(AwakeClock.Of(options)).AddSingleton<JobTable>().AddSingleton<CordonBook>().AddSingleton<WorkerTable>().AddSingleton<Restoration>();
        services.AddSingleton<EventLoop>().AddSingleton<ClusterController>().AddSingleton<ClusterService>().AddHostedService(s => s.GetRequiredService<ClusterService>());
        services.AddSingleton<RetentionService>().AddHostedService(s => s.GetRequiredService<RetentionService>());
        services.AddSingleton<JobsService>().AddSingleton<AdministrationService>().AddSingleton<DatasetsService>().AddSingleton<BlobsService>().AddSingleton<WorkersService>().AddSingleton<DatasetFlightServer>();
        services.AddSingleton<CallDrain>().AddHostedService(s => s.GetRequiredService<CallDrain>());
        services.AddGrpc(Listening.ConfigureMessages);
        if (options.Urls.Count > 0)
            MetricsEndpoint.AddServices(services); // a local cluster's start does not load what it never asks
        services.AddGrpcHealthChecks().AddCheck<EventLoopCheck>("event loop");
    }

    // Standard output stays free for what a command prints; a local cluster says only what goes wrong.
    private static void AddLogs(ILoggingBuilder logging, CoordinatorOptions options)
    {
        logging.SetMinimumLevel(options.Urls.Count == 0 ? LogLevel.Warning : LogLevel.Information);
        logging.AddFilter("Microsoft", LogLevel.Warning)
            .AddFilter("Grpc", LogLevel.Critical) // what callers did wrong; what went wrong here the interceptor logs
            .AddFilter("Microsoft.Extensions.Hosting", LogLevel.Critical); // a start that fails is thrown, and told once
        logging.AddConsole(console => (console.FormatterName, console.LogToStandardErrorThreshold) = (LineFormatter.FormatName, LogLevel.Trace));
        logging.AddConsoleFormatter<LineFormatter, ConsoleFormatterOptions>();
    }
}

internal sealed partial class HostLog(ILogger logger)
{
    [LoggerMessage(1, LogLevel.Information, "Certificate fingerprint (SHA-256): {Fingerprint}")]
    public partial void Certificate(string fingerprint);

    [LoggerMessage(3, LogLevel.Warning, "Data folder \"{Path}\" had mode {Mode}, by which others than its owner could read datasets and models, expected 700: it has that now")]
    public partial void Tightened(string path, string mode);

    [LoggerMessage(4, LogLevel.Warning, "Database \"{Path}\" is so large that its check at the start did not end in its time; run SQLite's \"PRAGMA quick_check\" on a backup of it")]
    public partial void NotChecked(string path);

    [LoggerMessage(2, LogLevel.Information, "Listening on {Address}")]
    public partial void Listening(string address);
}
