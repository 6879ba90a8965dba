using System.Net.Security;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MLDistributed.Coordinator.Hosting;

namespace MLDistributed.Coordinator.Tests.Hosting;

[TestClass]
public sealed class ServerCertificateTests
{
    // The clock of the tests stands at the first of January 2026.
    private static readonly DateTimeOffset From = new(2025, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private static readonly DateTimeOffset To = new(2100, 1, 1, 0, 0, 0, TimeSpan.Zero);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("cert-");

    [TestCleanup]
    public void RemoveFolder() => _folder.Delete(recursive: true);

    [TestMethod]
    [DataRow(".pem")]
    [DataRow(".pfx")]
    public async Task Certificate_OfAnIntermediateAuthority_IsSentWithIt(string extension)
    {
        using var root = Issue("root", null);
        using var between = Issue("between", root);
        using var leaf = Issue("localhost", between, isAuthority: false);
        var path = Write(extension, leaf, between);
        var options = Options(path);
        await using var coordinator = await CoordinatorServer.StartAsync(options, CancellationToken.None).Within();

        var sent = await ReceivedChainAsync(coordinator.Addresses.Single().Port);

        CollectionAssert.Contains(sent, between.Thumbprint, "A client that knows the root alone cannot build the chain.");
    }

    [TestMethod]
    public void Certificate_Expired_SaysWhen()
    {
        using var expired = Issue("localhost", null, isAuthority: false, to: From.AddDays(30));

        var error = Load(Write(".pem", expired));

        StringAssert.Contains(error.Message, "(CN=localhost) expired at 2025-01-31 00:00:00Z, expected one that is valid now. Renew it.");
    }

    [TestMethod]
    public void Certificate_OfTheFuture_SaysFromWhen()
    {
        using var early = Issue("localhost", null, isAuthority: false, from: From.AddYears(10));

        StringAssert.Contains(Load(Write(".pem", early)).Message, "is valid from 2035-01-01 00:00:00Z on");
    }

    [TestMethod]
    [DataRow("certificate.pem", "no certificate at all")]
    [DataRow("certificate.pfx", "no certificate at all")]
    [DataRow("missing.pem", null)]
    public void Certificate_Unreadable_IsNamedWithWhatIsExpected(string name, string? content)
    {
        var path = Path.Combine(_folder.FullName, name);
        if (content is not null)
            File.WriteAllText(path, content);

        StringAssert.Contains(Load(path).Message, $"Certificate \"{path}\" cannot be read (");
    }

    [TestMethod]
    public void Certificate_WithoutItsKey_IsRefused()
    {
        using var leaf = Issue("localhost", null, isAuthority: false);
        var path = Path.Combine(_folder.FullName, "alone.pfx");
        using var bare = X509CertificateLoader.LoadCertificate(leaf.RawData);
        File.WriteAllBytes(path, bare.Export(X509ContentType.Pfx));

        StringAssert.Contains(Load(path).Message, "no certificate in it has a private key");
    }

    private InvalidOperationException Load(string path) =>
        Assert.ThrowsExactly<InvalidOperationException>(() => ServerCertificate.Load(Options(path), _folder.FullName));

    private CoordinatorOptions Options(string path) => new()
    {
        DataFolder = Path.Combine(_folder.FullName, "data"),
        Urls = ["https://127.0.0.1:0"],
        CertificatePath = path,
        Time = new ManualTimeProvider(),
    };

    private string Write(string extension, X509Certificate2 leaf, params X509Certificate2[] others)
    {
        var path = Path.Combine(_folder.FullName, "chain" + extension);
        if (extension == ".pfx")
            File.WriteAllBytes(path, new X509Certificate2Collection((X509Certificate2[])[.. others, leaf]).Export(X509ContentType.Pfx)!);
        else
            File.WriteAllText(path, string.Join('\n', [leaf.ExportCertificatePem(), .. others.Select(o => o.ExportCertificatePem()), leaf.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem()]));
        return path;
    }

    private static async Task<List<string>> ReceivedChainAsync(int port)
    {
        using var client = new TcpClient();
        await client.ConnectAsync("127.0.0.1", port).Within();
        var received = new List<string>();
        await using var tls = new SslStream(client.GetStream(), leaveInnerStreamOpen: false, (_, _, chain, _) =>
        {
            received.AddRange(chain!.ChainPolicy.ExtraStore.Select(c => c.Thumbprint));
            return true;
        });
        await tls.AuthenticateAsClientAsync("localhost").Within();
        return received;
    }

    private static X509Certificate2 Issue(string name, X509Certificate2? issuer, bool isAuthority = true, DateTimeOffset? from = null, DateTimeOffset? to = null)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(isAuthority, false, 0, true));
        if (issuer is null)
            return request.CreateSelfSigned(from ?? From, to ?? To);
        using var bare = request.Create(issuer, from ?? From, to ?? To, RandomNumberGenerator.GetBytes(8));
        return bare.CopyWithPrivateKey(key);
    }
}
