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
    private readonly SocketsHttpHandler _handler;

    private ClusterConnection(Uri address, string? bearer, string? fingerprint, bool isDirect)
    {
        Address = address;
        _handler = new SocketsHttpHandler
        {
            EnableMultipleHttp2Connections = true,
            ConnectTimeout = TimeSpan.FromSeconds(5),
            KeepAlivePingDelay = TimeSpan.FromSeconds(10),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(10),

            // Proxies tunnel TLS; HTTP/2 without it and sockets they cannot, though HTTP_PROXY may name one.
            UseProxy = address.Scheme == Uri.UriSchemeHttps && !isDirect,
        };
        var target = address;
        if (address.Scheme == UnixSocketAddress.Scheme)
        {
            target = new Uri("http://localhost");
            _handler.ConnectCallback = (_, cancellation) => ConnectUnix(UnixSocketAddress.PathOf(address), cancellation);
        }

        _handler.SslOptions.RemoteCertificateValidationCallback = (_, certificate, _, errors) => Check(certificate, errors, fingerprint);

        Channel = GrpcChannel.ForAddress(target, new GrpcChannelOptions
        {
            HttpHandler = _handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = WireLimits.MaxLargeMessageBytes,
            MaxSendMessageSize = WireLimits.MaxLargeMessageBytes,
        });
        var version = ProtocolVersion.Current.ToString(CultureInfo.InvariantCulture);
        Invoker = Channel.Intercept(headers =>
        {
            var all = new Metadata(); // the caller's may be used for another attempt
            foreach (var header in headers)
                all.Add(header);
            all.Add(ProtocolVersion.Header, version);
            if (bearer is not null)
                all.Add("authorization", $"Bearer {bearer}");
            return all;
        }).Intercept(new WireInterceptor()).Intercept(new PushbackCalls(TimeProvider.System));
    }

    /// <summary>Where the coordinator is: https://host:port, http://localhost:port or unix:///path/to/socket.</summary>
    public Uri Address { get; }

    /// <summary>The channel, without credentials.</summary>
    public GrpcChannel Channel { get; }

    /// <summary>What clients are made from: adds the protocol version and the credential to every call, and refuses answers that <see cref="WireRules"/> refuse.</summary>
    public CallInvoker Invoker { get; }

    /// <summary>Opens a channel; connects on the first call.</summary>
    /// <param name="address">https://host:port, unix:///path, or on this machine http://localhost:port.</param>
    /// <param name="bearer">An API key or a worker's credential; none over a Unix socket.</param>
    /// <param name="certificateFingerprint">SHA-256 of the server's certificate in hex: that certificate and no other is accepted. Null: those that this machine trusts.</param>
    /// <param name="isDirect">Whether no proxy is on the way, whatever the environment names.</param>
    /// <exception cref="ArgumentException">The address, the key or the fingerprint is malformed.</exception>
    public static ClusterConnection Open(Uri address, string? bearer = null, string? certificateFingerprint = null, bool isDirect = false)
    {
        ArgumentNullException.ThrowIfNull(address);
        CheckAddress(address);
        if (bearer is not null && (bearer.Length == 0 || bearer.Any(c => c is <= ' ' or > '~')))
            throw new ArgumentException("The key is empty or has blanks or characters that are not ASCII, expected it as the coordinator printed it. Copy it again.");
        return new ClusterConnection(address, bearer, certificateFingerprint is null ? null : ReadFingerprint(certificateFingerprint), isDirect);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Channel.Dispose();
        _handler.Dispose();
    }

    private static void CheckAddress(Uri address)
    {
        if (!address.IsAbsoluteUri || address.Scheme is not ("https" or "http" or "unix"))
            throw new ArgumentException($"Coordinator address is \"{address}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port.");
        if (address.Scheme == UnixSocketAddress.Scheme && UnixSocketAddress.Refusal(UnixSocketAddress.PathOf(address)) is { } refusal)
            throw new ArgumentException(refusal);
        if (address.Scheme != "unix" && address.Host.Length == 0)
            throw new ArgumentException($"Coordinator address is \"{address}\", expected a host. Write it as https://host:port.");
        if (address.Scheme == "http" && !address.IsLoopback)
            throw new ArgumentException($"Coordinator address is \"{address}\", expected https:// for another machine: over http:// anybody on the way could read keys and data. Give the coordinator an https address, or tunnel to a loopback port.");
    }

    private static string ReadFingerprint(string text)
    {
        try
        {
            if (Convert.FromHexString(text.Replace(":", "", StringComparison.Ordinal)) is { Length: SHA256.HashSizeInBytes } bytes)
                return Convert.ToHexString(bytes);
        }
        catch (FormatException)
        {
            // Refused below.
        }

        throw new ArgumentException($"Certificate fingerprint is \"{text}\", expected a SHA-256 as 64 hexadecimal digits, colons allowed. The coordinator prints it when it starts.");
    }

    private static async ValueTask<Stream> ConnectUnix(string path, CancellationToken cancellation)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellation).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch (SocketException e)
        {
            socket.Dispose();
            throw new SocketException(e.ErrorCode, UnixError(path, e));
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static string UnixError(string path, SocketException e)
    {
        if (e.SocketErrorCode == SocketError.AccessDenied)
            return $"Socket \"{path}\" may not be used by this user, expected the coordinator's own user. Run as that user, or let the coordinator listen on an address and use a key.";
        return File.Exists(path)
            ? $"Nobody listens on socket \"{path}\" ({e.Message}), expected a running coordinator. Start it again with \"mldist coordinator --socket {path}\"."
            : $"Socket \"{path}\" does not exist, expected that of a running coordinator. Start one with \"mldist coordinator --socket {path}\", or correct the path.";
    }

    private static bool Check(X509Certificate? certificate, SslPolicyErrors errors, string? fingerprint)
    {
        var found = certificate?.GetCertHashString(HashAlgorithmName.SHA256);
        return (fingerprint is null ? errors == SslPolicyErrors.None : found == fingerprint)
            ? true
            : throw new UntrustedCertificateException(fingerprint is null ? $"{errors}" : $"it has the fingerprint {found}");
    }
}
