using MLDistributed.Coordinator.Cluster;
using OpenTelemetry;
using OpenTelemetry.Metrics;

namespace MLDistributed.Coordinator.Metrics;

/// <summary>GET /metrics, in the text format of Prometheus. Keys are checked before, as for every call.</summary>
internal static class MetricsEndpoint
{
    public const string Path = "/metrics";

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(5);

    public static void Map(WebApplication app)
    {
        var meter = app.Services.GetRequiredService<LoadMeter>();
        var (loop, cluster) = (app.Services.GetRequiredService<EventLoop>(), app.Services.GetRequiredService<ClusterController>());
        app.MapPrometheusScrapingEndpoint(Path, app.Services.GetRequiredService<MeterProvider>(), optionsName: null, configureBranchedPipeline: scrape => scrape.Use(next => async context =>
        {
            meter.Show(await loop.InvokeAsync(cluster.Load).WaitAsync(s_limit, context.RequestAborted).ConfigureAwait(false));
            await next(context).ConfigureAwait(false);
        }));
    }

    public static void AddServices(IServiceCollection services) => services
        .AddSingleton<LoadMeter>()
        .AddSingleton<MeterProvider>(s => Sdk.CreateMeterProviderBuilder()
            .AddMeter(LoadMeter.Name)
            .AddPrometheusExporter(exporter => exporter.ScrapeResponseCacheDurationMilliseconds = 0) // each scrape asks the event loop
            .Build());
}
