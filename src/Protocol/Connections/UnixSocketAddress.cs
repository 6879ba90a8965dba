using System.Text;

namespace MLDistributed.Protocol;

/// <summary>
/// unix:///path/to/socket and the path it means. A path may have any characters: #, ? and \ are its own, as a socket's
/// address has no parts behind its path, and %41 is an escape unless a file has just that name.
/// </summary>
public static class UnixSocketAddress
{
    /// <summary>The scheme of such addresses.</summary>
    public const string Scheme = "unix";

    /// <summary>The most bytes, in UTF-8, of a socket's path: sockaddr_un less the null at its end.</summary>
    public static int MaxPathBytes { get; } = OperatingSystem.IsMacOS() ? 103 : 107;

    /// <summary>The address of a socket.</summary>
    /// <param name="path">Its absolute path.</param>
    public static Uri Of(string path) => new($"{Scheme}://{string.Join('/', path.Split('/').Select(Uri.EscapeDataString))}");

    /// <summary>The path that an address means.</summary>
    public static string PathOf(Uri address)
    {
        ArgumentNullException.ThrowIfNull(address);
        if (OperatingSystem.IsWindows())
            return address.LocalPath;

        // As it was written: Uri would take # and ? for the ends of the path, and \ for /.
        var written = address.OriginalString[(Scheme.Length + 1)..];
        if (written.StartsWith("//", StringComparison.Ordinal))
            written = written[2..];
        var unescaped = Uri.UnescapeDataString(written);
        return unescaped != written && File.Exists(written) ? written : unescaped;
    }

    /// <summary>Whether the system can bind a socket to a path of this length.</summary>
    public static bool Fits(string path) => Encoding.UTF8.GetByteCount(path) <= MaxPathBytes;

    /// <summary>What is wrong with the path of a socket, in a sentence; null: nothing.</summary>
    public static string? Refusal(string path) =>
        !Path.IsPathFullyQualified(path) ? $"Socket path \"{path}\" is relative, expected an absolute one, as in unix:///run/mldist/c.sock."
        : !Fits(path) ? $"Socket path \"{path}\" has {Encoding.UTF8.GetByteCount(path)} bytes, expected 1 to {MaxPathBytes}. Use a folder with a shorter path."
        : null;
}
