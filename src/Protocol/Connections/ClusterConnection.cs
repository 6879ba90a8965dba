using System.Globalization;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Grpc.Core;
using Grpc.Core.Interceptors;
using Grpc.Net.Client;

namespace MLDistributed.Protocol;

/// <summary>A channel to a coordinator, over TLS, plain HTTP/2 or a Unix domain socket, that authenticates every call.</summary>
public sealed class ClusterConnection : IDisposable
{
    private const int MaxMessageBytes = 64 << 20;
    private readonly SocketsHttpHandler _handler;

    private ClusterConnection(Uri address, string? bearer, string? certificateFingerprint)
    {
        Address = address;
        _handler = new SocketsHttpHandler
        {
            EnableMultipleHttp2Connections = true,
            ConnectTimeout = TimeSpan.FromSeconds(5),
            KeepAlivePingDelay = TimeSpan.FromSeconds(10),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
        };
        var target = address;
        if (address.Scheme == "unix")
        {
            target = new Uri("http://localhost");
            _handler.ConnectCallback = (_, cancellation) => ConnectUnix(address.LocalPath, cancellation);
        }

        if (certificateFingerprint is not null)
            _handler.SslOptions.RemoteCertificateValidationCallback = Pin(certificateFingerprint);

        Channel = GrpcChannel.ForAddress(target, new GrpcChannelOptions
        {
            HttpHandler = _handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = MaxMessageBytes,
            MaxSendMessageSize = MaxMessageBytes,
        });
        Invoker = Channel.Intercept(metadata =>
        {
            metadata.Add(ProtocolVersion.Header, ProtocolVersion.Current.ToString(CultureInfo.InvariantCulture));
            if (bearer is not null)
                metadata.Add("authorization", $"Bearer {bearer}");
            return metadata;
        });
    }

    /// <summary>Where the coordinator is: https://host:port, http://host:port or unix:///path/to/socket.</summary>
    public Uri Address { get; }

    /// <summary>The channel, without credentials.</summary>
    public GrpcChannel Channel { get; }

    /// <summary>What clients are made from: adds the protocol version and the credential to every call.</summary>
    public CallInvoker Invoker { get; }

    /// <summary>Opens a channel; connects on the first call.</summary>
    /// <param name="address">https://host:port, http://host:port or unix:///path.</param>
    /// <param name="bearer">An API key or a worker's credential; none over a Unix socket.</param>
    /// <param name="certificateFingerprint">SHA-256 of the server's certificate in hex, when it is self-signed.</param>
    public static ClusterConnection Open(Uri address, string? bearer = null, string? certificateFingerprint = null) =>
        new(address, bearer, certificateFingerprint);

    /// <inheritdoc/>
    public void Dispose()
    {
        Channel.Dispose();
        _handler.Dispose();
    }

    private static async ValueTask<Stream> ConnectUnix(string path, CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellation).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static RemoteCertificateValidationCallback Pin(string fingerprint) => (_, certificate, _, errors) =>
        errors == SslPolicyErrors.None
        || (certificate is X509Certificate2 c
            && string.Equals(c.GetCertHashString(HashAlgorithmName.SHA256), fingerprint.Replace(":", "", StringComparison.Ordinal), StringComparison.OrdinalIgnoreCase));
}
