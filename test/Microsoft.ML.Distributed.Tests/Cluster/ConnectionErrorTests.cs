using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ConnectionErrorTests
{
    [TestMethod]
    [DataRow("ftp://host", "expected https://host:port")]
    [DataRow("host:7443", "expected https://host:port")]
    [DataRow("http://another-machine:7443", "expected https:// for another machine")]
    [DataRow("unix://c.sock", "expected an absolute one")]
    [DataRow("unix:///aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "shorter path")]
    public void Connect_MalformedAddress_IsRefusedAtOnce(string address, string expected)
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => TrainingCluster.Connect(new Uri(address)));

        Assert.Contains(expected, e.Message);
        Assert.DoesNotContain("(Parameter", e.Message);
    }

    [TestMethod]
    [DataRow("12:34")]
    [DataRow("not hexadecimal")]
    public void Connect_MalformedFingerprint_IsRefusedAtOnce(string fingerprint)
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => TrainingCluster.Connect(new Uri("https://host"), new TrainingClusterOptions { CertificateFingerprint = fingerprint }));

        Assert.Contains($"\"{fingerprint}\"", e.Message);
    }

    [TestMethod]
    public void Connect_WrongTimes_AreToldAtOnce()
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => TrainingCluster.Connect(new Uri("https://host"), new TrainingClusterOptions { ConnectTimeout = TimeSpan.Zero, ReconnectTimeout = TimeSpan.FromSeconds(-1) }));

        Assert.AreEqual("ConnectTimeout is 00:00:00, expected more than zero. ReconnectTimeout is -00:00:01, expected zero or more.", e.Message);
    }

    [TestMethod]
    public void Connect_MalformedKey_IsRefusedWithoutShowingIt()
    {
        var e = Assert.ThrowsExactly<ArgumentException>(() => TrainingCluster.Connect(new Uri("https://host"), apiKey: "sec ret"));

        Assert.DoesNotContain("sec ret", e.Message);
    }

    [TestMethod]
    public void NewDatasetFile_NoCoordinator_SaysWhatWasTried()
    {
        using var free = new TcpListener(IPAddress.Loopback, 0);
        free.Start();
        var address = new Uri($"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}");
        free.Stop();
        using var cluster = TrainingCluster.Connect(address, new TrainingClusterOptions { ConnectTimeout = TimeSpan.FromSeconds(2) });

        var e = Assert.ThrowsExactly<ClusterException>(() => ((ITrainingBackend)cluster).NewDatasetFile());

        Assert.Contains($"Coordinator {address} does not answer: tried", e.Message);
        Assert.Contains("refused", e.Message);
        Assert.Contains("mldist coordinator", e.Message);
    }

    [TestMethod]
    public void NewDatasetFile_NoSocket_SaysSo()
    {
        using var cluster = TrainingCluster.Connect(new Uri("unix:///nowhere/c.sock"), new TrainingClusterOptions { ConnectTimeout = TimeSpan.FromSeconds(2) });

        var e = Assert.ThrowsExactly<ClusterException>(() => ((ITrainingBackend)cluster).NewDatasetFile());

        Assert.Contains("Coordinator unix:///nowhere/c.sock does not answer", e.Message);
        Assert.Contains("\"/nowhere/c.sock\" does not exist", e.Message);
    }

    [TestMethod]
    public async Task NewDatasetFile_WrongKey_SaysSo()
    {
        var e = await RefusedAsync(new Script { Key = "secret" }, "wrong");

        Assert.Contains("does not accept the API key: This key is not known.", e.Message);
        Assert.Contains("MLDIST_API_KEY", e.Message);
    }

    [TestMethod]
    public async Task NewDatasetFile_KeyWithoutScope_NamesTheScope()
    {
        var e = await RefusedAsync(new Script { DeniedScope = "submit" }, "reader");

        Assert.Contains("scope \"submit\"", e.Message);
    }

    [TestMethod]
    public async Task NewDatasetFile_OtherProtocol_NamesBothVersions()
    {
        var e = await RefusedAsync(new Script { Protocol = 7 }, null);

        Assert.Contains("expected 7", e.Message);
        Assert.Contains($"speaks version {ProtocolVersion.Current}", e.Message);
    }

    [TestMethod]
    public async Task GetStatus_SelfSignedCertificate_NeedsItsFingerprint()
    {
        using var certificate = SelfSigned();
        await using var coordinator = await FakeCoordinator.StartAsync(new Script(), certificate: certificate);
        var right = certificate.GetCertHashString(HashAlgorithmName.SHA256);

        using var pinned = TrainingCluster.Connect(coordinator.Address, new TrainingClusterOptions { CertificateFingerprint = right.ToLowerInvariant() });
        using var plain = TrainingCluster.Connect(coordinator.Address);
        using var other = TrainingCluster.Connect(coordinator.Address, new TrainingClusterOptions { CertificateFingerprint = new string('a', 64) });

        Assert.AreEqual("fake", pinned.GetStatus().Version);
        Assert.Contains("CertificateFingerprint", Assert.ThrowsExactly<ClusterException>(() => plain.GetStatus()).Message);
        Assert.Contains("CertificateFingerprint", Assert.ThrowsExactly<ClusterException>(() => other.GetStatus()).Message);
    }

    [TestMethod]
    [DataRow("http", "https", "If it listens on https://, write https:// here, and give the fingerprint")]
    [DataRow("https", "http", "It does not speak TLS: if it listens on http://")]
    public async Task GetStatus_SchemeOfTheOther_IsHintedAt(string asked, string served, string hint)
    {
        using var certificate = SelfSigned();
        await using var coordinator = await FakeCoordinator.StartAsync(new Script(), certificate: served == "https" ? certificate : null);
        using var cluster = TrainingCluster.Connect(new UriBuilder(coordinator.Address) { Scheme = asked }.Uri, new TrainingClusterOptions { ConnectTimeout = TimeSpan.FromSeconds(0.5) });

        var e = Assert.ThrowsExactly<ClusterException>(() => cluster.GetStatus());

        Assert.Contains(hint, e.Message);
        Assert.DoesNotContain("not trusted", e.Message);
    }

    [TestMethod]
    public void Read_Environment_GivesAddressKeyAndFingerprint()
    {
        Assert.IsNull(ClusterEnvironment.Read(_ => null));
        var (address, options) = ClusterEnvironment.Read(name => name == ClusterVariables.Coordinator ? "https://c:7443" : "of " + name)!.Value;
        Assert.AreEqual((new Uri("https://c:7443"), "of MLDIST_API_KEY", "of MLDIST_FINGERPRINT"), (address, options.ApiKey, options.CertificateFingerprint));
        var e = Assert.ThrowsExactly<ClusterException>(() => ClusterEnvironment.Read(_ => "c:7443"));
        Assert.Contains("MLDIST_COORDINATOR is \"c:7443\", expected https://host:port", e.Message);
    }

    [TestMethod]
    public void FromEnvironment_WrongValue_NamesTheVariables()
    {
        var e = Assert.ThrowsExactly<ClusterException>(() => TrainingCluster.FromEnvironment(name => name == ClusterVariables.Coordinator ? "https://c:7443" : "short"));

        Assert.Contains("fingerprint is \"short\"", e.Message);
        Assert.Contains("MLDIST_COORDINATOR, MLDIST_API_KEY, MLDIST_FINGERPRINT", e.Message);
    }

    private static async Task<ClusterException> RefusedAsync(Script script, string? key)
    {
        await using var coordinator = await FakeCoordinator.StartAsync(script);
        using var cluster = TrainingCluster.Connect(coordinator.Address, key);
        return Assert.ThrowsExactly<ClusterException>(() => ((ITrainingBackend)cluster).NewDatasetFile());
    }

    private static X509Certificate2 SelfSigned()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=fake", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using var certificate = request.CreateSelfSigned(TimeProvider.System.GetUtcNow().AddDays(-1), TimeProvider.System.GetUtcNow().AddDays(1));
        return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pkcs12), null);
    }
}
