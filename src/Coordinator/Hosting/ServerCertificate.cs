using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>The certificate for https: the configured one with its chain, or a self-signed one that is made once and pinned by clients.</summary>
/// <param name="Leaf">The coordinator's own, with its key.</param>
/// <param name="Chain">What is sent with it: clients know the root authority, not those between.</param>
internal sealed record ServerCertificate(X509Certificate2 Leaf, X509Certificate2Collection Chain)
{
    public string Fingerprint => Leaf.GetCertHashString(HashAlgorithmName.SHA256);

    /// <summary>Where the self-signed one of a data folder is.</summary>
    public static string PathIn(string dataFolder) => Path.Combine(dataFolder, "certificate.pfx");

    /// <exception cref="InvalidOperationException">It cannot be read, has no key, or is not valid now.</exception>
    public static ServerCertificate Load(CoordinatorOptions options, string dataFolder)
    {
        var path = options.CertificatePath ?? PathIn(dataFolder);
        var now = options.Time.GetUtcNow();
        if (options.CertificatePath is null && !File.Exists(path))
            Create(path, now);
        var certificate = Read(path, options.CertificateKeyPath);
        Check(certificate.Leaf, path, now, options.CertificatePath is null
            ? "Delete the file, so that the next start makes another, and give its fingerprint to the clients and workers."
            : "Renew it.");
        return certificate;
    }

    private static ServerCertificate Read(string path, string? keyPath)
    {
        try
        {
            if (Path.GetExtension(path).ToUpperInvariant() is ".PFX" or ".P12")
            {
                var all = X509CertificateLoader.LoadPkcs12CollectionFromFile(path, null);
                var own = all.FirstOrDefault(c => c.HasPrivateKey) ?? throw new CryptographicException("no certificate in it has a private key");
                return new ServerCertificate(own, [.. all.Where(c => c != own)]);
            }

            var chain = new X509Certificate2Collection();
            chain.ImportFromPemFile(path);
            return new ServerCertificate(X509Certificate2.CreateFromPemFile(path, keyPath), [.. chain.Skip(1)]);
        }
        catch (Exception e) when (e is CryptographicException or IOException or UnauthorizedAccessException)
        {
            throw new InvalidOperationException(
                $"Certificate \"{path}\"{(keyPath is null ? "" : $" with key \"{keyPath}\"")} cannot be read ({e.Message.TrimEnd('.')}), " +
                "expected a PFX without a password, or a PEM file with the coordinator's certificate first, those of the authorities between after it, and its key in it or in a file of its own.",
                e);
        }
    }

    private static void Check(X509Certificate2 certificate, string path, DateTimeOffset now, string remedy)
    {
        if (now > certificate.NotAfter)
            throw new InvalidOperationException($"Certificate \"{path}\" ({certificate.Subject}) expired at {certificate.NotAfter.ToUniversalTime():u}, expected one that is valid now. {remedy}");
        if (now < certificate.NotBefore)
            throw new InvalidOperationException($"Certificate \"{path}\" ({certificate.Subject}) is valid from {certificate.NotBefore.ToUniversalTime():u} on, expected one that is valid now. Check this machine's clock. {remedy}");
    }

    private static void Create(string path, DateTimeOffset now)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest($"CN={Environment.MachineName}", key, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddDnsName(Environment.MachineName);
        names.AddDnsName("localhost");
        names.AddIpAddress(IPAddress.Loopback);
        names.AddIpAddress(IPAddress.IPv6Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, true));
        request.CertificateExtensions.Add(new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, true));
        request.CertificateExtensions.Add(new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1")], false));
        using var certificate = request.CreateSelfSigned(now.AddDays(-1), now.AddYears(10));

        var temp = path + ".tmp";
        using (var file = PrivateFile.Open(temp, FileMode.Create))
            file.Write(certificate.Export(X509ContentType.Pfx));
        File.Move(temp, path, overwrite: true);
    }
}
