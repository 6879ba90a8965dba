using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace MLDistributed.Coordinator.Security;

/// <summary>Keys, tokens and credentials: 32 random bytes, of which only the hash is stored.</summary>
internal static class Secret
{
    private const string WorkerPrefix = "mlw_";

    /// <summary>Makes a secret whose prefix tells people what it is.</summary>
    public static string New(string prefix) => prefix + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));

    public static string ForWorker() => New(WorkerPrefix);

    /// <summary>Whether a header holds what <see cref="ForWorker"/> made.</summary>
    public static bool IsWorkers(string header) => header.Contains(' ' + WorkerPrefix, StringComparison.Ordinal);

    // A plain hash suffices: 256 random bits cannot be searched, so nothing is gained by a slow one.
    public static byte[] Hash(string secret) => SHA256.HashData(Encoding.UTF8.GetBytes(secret));
}
