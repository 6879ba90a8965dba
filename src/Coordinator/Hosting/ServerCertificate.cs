using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace MLDistributed.Coordinator.Hosting;

/// <summary>The certificate for https: the configured one, or a self-signed one that is made once and pinned by clients.</summary>
internal static class ServerCertificate
{
    private const string FileName = "certificate.pfx";

    public static X509Certificate2 Load(CoordinatorOptions options, string dataFolder)
    {
        if (options.CertificatePath is null)
            return LoadOrCreateSelfSigned(Path.Combine(dataFolder, FileName), options.Time.GetUtcNow());
        try
        {
            return Path.GetExtension(options.CertificatePath).ToUpperInvariant() is ".PFX" or ".P12"
                ? X509CertificateLoader.LoadPkcs12FromFile(options.CertificatePath, null)
                : X509Certificate2.CreateFromPemFile(options.CertificatePath, options.CertificateKeyPath);
        }
        catch (Exception e) when (e is CryptographicException or IOException)
        {
            throw new InvalidOperationException($"Certificate \"{options.CertificatePath}\" cannot be read ({e.Message}), expected a PFX without a password or a PEM file with its key.", e);
        }
    }

    public static string Fingerprint(X509Certificate2 certificate) => certificate.GetCertHashString(HashAlgorithmName.SHA256);

    private static X509Certificate2 LoadOrCreateSelfSigned(string path, DateTimeOffset now)
    {
        if (!File.Exists(path))
            Create(path, now);
        return X509CertificateLoader.LoadPkcs12FromFile(path, null);
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

        var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        var temp = path + ".tmp";
        using (var file = new FileStream(temp, options))
            file.Write(certificate.Export(X509ContentType.Pfx));
        File.Move(temp, path, overwrite: true);
    }
}
