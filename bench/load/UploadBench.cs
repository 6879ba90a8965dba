using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Apache.Arrow;
using Apache.Arrow.Flight;
using Apache.Arrow.Flight.Client;
using Apache.Arrow.Flight.Server;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using MLDistributed.Protocol;

namespace MLDistributed.Bench.Load;

/// <summary>A dataset over TLS to the coordinator, which hashes, checks and stores it, beside a Flight server that drops it.</summary>
internal static class UploadBench
{
    private const int Rounds = 5;
    private const int Features = 1 << 10;
    private const int Batches = 64; // of 4 MiB

    public static async Task RunAsync()
    {
        var schema = DatasetSchema.Create(Features, hasWeights: false);
        var rows = DatasetSchema.RowsPerBatch(new DatasetShape(Features, HasWeights: false));
        using var batch = SmallDataset.Batch(schema, rows, Features);
        var batches = Enumerable.Repeat(batch, Batches).ToArray();
        var megaBytes = (double)rows * Features * sizeof(float) * Batches / (1 << 20);
        using var hasher = new DatasetHasher(DatasetSchema.Read(schema));
        foreach (var each in batches)
            hasher.Append(each);
        var id = hasher.Complete().Text;

        var sink = await StartSinkAsync().ConfigureAwait(false);
        await using var stopping = sink.App.ConfigureAwait(false);
        using var bare = ClusterConnection.Open(sink.Address, null, sink.Fingerprint);
        var (stored, dropped) = (new double[Rounds], new double[Rounds]);
        for (var round = 0; round < Rounds; round++)
        {
            // A coordinator of its own each time: the same data is not stored twice.
            using var coordinator = await CoordinatorProcess.StartAsync().ConfigureAwait(false);
            var connection = coordinator.Connect();
            await SmallDataset.AdoptAsync(coordinator.Connect().Invoker).ConfigureAwait(false); // the first call compiles
            stored[round] = megaBytes / await TimeAsync(connection.Invoker).ConfigureAwait(false);
            dropped[round] = megaBytes / await TimeAsync(bare.Invoker).ConfigureAwait(false);
        }

        Console.WriteLine($"| upload of {megaBytes:N0} MiB over TLS, median of {Rounds} (range) | MiB/s |\n| --- | --- |");
        Console.WriteLine($"| coordinator: hashed, checked, on disk | {Words(stored)} |\n| bare Flight sink | {Words(dropped)} |\n");

        async Task<double> TimeAsync(CallInvoker invoker)
        {
            var started = Stopwatch.GetTimestamp();
            await PutAsync(new FlightClient(invoker), id, (long)rows * Batches, schema, batches).ConfigureAwait(false);
            return Stopwatch.GetElapsedTime(started).TotalSeconds;
        }
    }

    public static async Task PutAsync(FlightClient client, string id, long rows, Schema schema, IEnumerable<RecordBatch> batches)
    {
        var headers = new Metadata { { "mldist-first-batch", "0" }, { "mldist-rows", rows.ToString(CultureInfo.InvariantCulture) } };
        using var call = client.StartPut(FlightDescriptor.CreatePathDescriptor(id), headers);
        await call.RequestStream.SetupStream(schema).ConfigureAwait(false);
        foreach (var batch in batches)
            await call.RequestStream.WriteAsync(batch).ConfigureAwait(false);
        await call.RequestStream.CompleteAsync().ConfigureAwait(false);
        while (await call.ResponseStream.MoveNext(CancellationToken.None).ConfigureAwait(false))
        {
            // One empty result.
        }
    }

    private static async Task<(WebApplication App, Uri Address, string Fingerprint)> StartSinkAsync()
    {
        using var key = RSA.Create(2048);
        using var made = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1)
            .CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
        var certificate = X509CertificateLoader.LoadPkcs12(made.Export(X509ContentType.Pkcs12), null);
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Listen(IPAddress.Loopback, 0, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.UseHttps(certificate);
            });
        });
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = null).AddFlightServer<Sink>();
        var app = builder.Build();
        app.MapFlightEndpoint();
        await app.StartAsync().ConfigureAwait(false);
        return (app, new Uri(app.Urls.First()), certificate.GetCertHashString(HashAlgorithmName.SHA256));
    }

    private static string Words(double[] values)
    {
        var sorted = values.Order().ToArray();
        return $"{sorted[sorted.Length / 2]:N0} ({sorted[0]:N0} to {sorted[^1]:N0})";
    }

    private sealed class Sink : FlightServer
    {
        public override async Task DoPut(FlightServerRecordBatchStreamReader requestStream, IAsyncStreamWriter<FlightPutResult> responseStream, ServerCallContext context)
        {
            while (await requestStream.MoveNext().ConfigureAwait(false))
                requestStream.Current.Dispose();
            await responseStream.WriteAsync(new FlightPutResult()).ConfigureAwait(false);
        }
    }
}
