using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Security;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>The endpoints: a Unix socket that is trusted by its file's mode, and addresses that ask for keys.</summary>
internal static class Listening
{
    // Below what a call's own limits end in words: this ends its whole connection.
    private static readonly MinDataRate s_leastRate = new(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(30));
    private const int MaxCallsPerConnection = 100;

    /// <summary>What a call may send before it is read.</summary>
    public const int StreamWindowBytes = 4 << 20;

    public static void Configure(KestrelServerOptions kestrel, CoordinatorOptions options, Visitors visitors, Func<ServerCertificate> certificate)
    {
        kestrel.AddServerHeader = false;
        kestrel.Limits.MaxRequestBodySize = null; // uploads are streams; their own limits count
        kestrel.Limits.MinRequestBodyDataRate = s_leastRate; // not of streams: CallGate
        kestrel.Limits.MinResponseDataRate = null;
        kestrel.Limits.Http2.MaxStreamsPerConnection = MaxCallsPerConnection;
        kestrel.Limits.Http2.InitialStreamWindowSize = StreamWindowBytes;
        kestrel.Limits.Http2.InitialConnectionWindowSize = 16 << 20;
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(10);
        kestrel.Limits.Http2.KeepAlivePingTimeout = TimeSpan.FromSeconds(10);
        if (options.FullSocketPath is { } path)
            kestrel.ListenUnixSocket(path, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.Use(next => connection =>
                {
                    connection.Features.Set(new TrustedConnection());
                    return next(connection);
                });
            });
        foreach (var url in options.Urls.Select(u => new Uri(u)))
            Listen(kestrel, url, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                visitors.Watch(listen);
                if (url.Scheme == "https")
                    listen.UseHttps(https => (https.ServerCertificate, https.ServerCertificateChain) = (certificate().Leaf, certificate().Chain));
            });
    }

    public static void ConfigureMessages(Grpc.AspNetCore.Server.GrpcServiceOptions grpc)
    {
        grpc.MaxReceiveMessageSize = WireLimits.MaxLargeMessageBytes;
        grpc.MaxSendMessageSize = WireLimits.MaxLargeMessageBytes;
        grpc.Interceptors.Add<CallInterceptor>();
    }

    /// <summary>Checks that nobody else can reach the socket, and removes one that a killed coordinator left.</summary>
    public static void PrepareSocket(string path)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        RequirePrivate(folder, path);
        if (!File.Exists(path))
            return;
        if (new FileInfo(path).Length > 0)
            throw new InvalidOperationException($"Socket \"{path}\" is a file with content, expected a new name, or a socket that an earlier coordinator left. Choose another path.");
        if (IsServed(path))
            throw new IOException($"Socket \"{path}\" is in use by another coordinator. Stop that one, or choose another path.");
        File.Delete(path);
    }

    private static bool IsServed(string path)
    {
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            socket.Connect(new UnixDomainSocketEndPoint(path));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    public static void RestrictSocket(string path)
    {
        if (!OperatingSystem.IsWindows())
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }

    private static void RequirePrivate(string folder, string path)
    {
        Store.DataFolder.Create(folder);
        if (OperatingSystem.IsWindows())
            return;
        const UnixFileMode others = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute
            | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;
        var mode = File.GetUnixFileMode(folder);
        if ((mode & others) != 0)
            throw new InvalidOperationException(
                $"Socket \"{path}\" is in a folder of mode {Convert.ToString((int)mode, 8)}, expected 700: the socket asks for no key, so nobody else may reach it. Run \"chmod 700 {folder}\", or choose another folder.");
    }

    private static void Listen(KestrelServerOptions kestrel, Uri url, Action<ListenOptions> configure)
    {
        if (IPAddress.TryParse(url.Host.Trim('[', ']'), out var address))
            kestrel.Listen(address, url.Port, configure);
        else if (url.Host != "localhost")
            kestrel.ListenAnyIP(url.Port, configure);
        else if (url.Port == 0)
            kestrel.Listen(IPAddress.Loopback, 0, configure); // Kestrel has no free port for two addresses at once
        else
            kestrel.ListenLocalhost(url.Port, configure);
    }
}
