using System.Security.Cryptography;

namespace MLDistributed.Coordinator.Store;

/// <summary>Ids that nobody can guess, and ids that are a content's hash.</summary>
internal static class OpaqueId
{
    public static string New() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));

    /// <summary>Whether the text is a SHA-256 in lower-case hex, and so a safe file name.</summary>
    public static bool IsContentId(string id) => id.Length == 64 && id.All(char.IsAsciiHexDigitLower);
}
