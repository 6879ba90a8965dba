using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using MLDistributed.Worker.Networks;

namespace MLDistributed.Worker.Peers;

/// <summary>Where other workers reach <see cref="PeerBlobs"/>: TLS with a certificate and a key of its own, which they hear of through the coordinator.</summary>
internal sealed class PeerServer : IAsyncDisposable
{
    private const int MaxMessageBytes = 4 << 10; // a request names a dataset
    private const int KeyBytes = 32;

    private readonly WebApplication _app;
    private readonly PeerBlobs _blobs;
    private readonly X509Certificate2 _certificate;

    private PeerServer(WebApplication app, PeerBlobs blobs, IPEndPoint address, X509Certificate2 certificate, string key) =>
        (_app, _blobs, Address, _certificate, Key) = (app, blobs, address, certificate, key);

    public IPEndPoint Address { get; }

    /// <summary>Of its certificate, SHA-256 in hexadecimal digits.</summary>
    public string Fingerprint => _certificate.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>What callers must show.</summary>
    public string Key { get; }

    /// <summary>Listens at the last free port.</summary>
    /// <param name="address">This worker's, on the network that its operator named.</param>
    /// <param name="ports">Those there. From the last on: MPI begins with the first.</param>
    /// <param name="callers">How many workers may call at once.</param>
    /// <exception cref="IOException">No port is free, or the address is gone.</exception>
    public static async Task<PeerServer> StartAsync(IPAddress address, PortRange ports, int callers, PeerBlobs blobs, TimeProvider time)
    {
        var key = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(KeyBytes));
        var certificate = CreateCertificate(time);
        for (var port = ports.Last; port >= ports.First; port--)
        {
            var endPoint = new IPEndPoint(address, port);
            if (!IsFree(endPoint))
                continue;
            var app = Build(endPoint, certificate, Encoding.ASCII.GetBytes($"Bearer {key}"), callers, blobs);
            try
            {
                await app.StartAsync().ConfigureAwait(false);
                return new PeerServer(app, blobs, endPoint, certificate, key);
            }
            catch (Exception e) when (e is IOException or SocketException && !IsFree(endPoint))
            {
                await app.DisposeAsync().ConfigureAwait(false); // another was quicker
            }
            catch
            {
                await app.DisposeAsync().ConfigureAwait(false);
                certificate.Dispose();
                throw;
            }
        }

        certificate.Dispose();
        throw new IOException($"no TCP port of {ports.First} to {ports.Last} is free at {address}");
    }

    public async ValueTask DisposeAsync()
    {
        _blobs.End();
        await _app.StopAsync(new CancellationToken(canceled: true)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _app.DisposeAsync().ConfigureAwait(false);
        _certificate.Dispose();
    }

    private static WebApplication Build(IPEndPoint endPoint, X509Certificate2 certificate, byte[] bearer, int callers, PeerBlobs blobs)
    {
        // The empty builder: no configuration files, no environment.
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = typeof(PeerServer).Assembly.GetName().Name });
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxConcurrentConnections = 4 * callers;
            kestrel.Limits.MaxRequestBodySize = MaxMessageBytes;
            kestrel.Limits.MinResponseDataRate = null; // a reader's disk may stand still for a while
            kestrel.Limits.Http2.MaxStreamsPerConnection = 16;
            kestrel.Listen(endPoint, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.UseHttps(certificate);
            });
        });
        builder.Services.AddSingleton<IHostLifetime, AgentsLifetime>();
        builder.Services.AddRoutingCore();
        builder.Services.AddSingleton(blobs);
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = MaxMessageBytes);
        var app = builder.Build();
        // Before a byte of a message is read.
        app.Use(next => context =>
        {
            if (CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(context.Request.Headers.Authorization.ToString()), bearer))
                return next(context);
            context.Response.StatusCode = StatusCodes.Status401Unauthorized;
            return Task.CompletedTask;
        });
        app.UseRouting();
        app.MapGrpcService<PeerBlobs>();
        return app;
    }

    private static X509Certificate2 CreateCertificate(TimeProvider time)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var now = time.GetUtcNow();
        // Known by its fingerprint: callers look at no name and no date.
        return new CertificateRequest("CN=mldist worker", key, HashAlgorithmName.SHA256).CreateSelfSigned(now.AddDays(-1), now.AddYears(1));
    }

    private static bool IsFree(IPEndPoint endPoint)
    {
        using var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(endPoint);
            return true;
        }
        catch (SocketException e) when (e.SocketErrorCode is SocketError.AddressAlreadyInUse or SocketError.AccessDenied)
        {
            return false;
        }
        catch (SocketException e)
        {
            throw new IOException($"{endPoint.Address} cannot be listened at ({e.Message})", e);
        }
    }

    // The agent ends it; signals are the agent's own.
    private sealed class AgentsLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
