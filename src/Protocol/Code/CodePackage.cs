using System.IO.Compression;

namespace MLDistributed.Protocol;

/// <summary>
/// The assemblies of a user's module, or its <see cref="TorchScript"/>, as one file, a zip of plain file names: the same files make the same bytes. They are
/// loaded from memory, so that no name becomes a path.
/// </summary>
public static class CodePackage
{
    /// <summary>What a coordinator, and a client that asked it, says where jobs may bring no code.</summary>
    public const string Denied = "The job brings a module of its own, code that would run on the workers, expected a job without: this coordinator denies user code. Ask its administrator to start it with \"--user-code allow\", or train the module on a local cluster.";

    /// <summary>The most bytes of a package.</summary>
    public const int MaxBytes = 64 << 20;

    /// <summary>The most bytes of what is in it.</summary>
    public const long MaxUnpackedBytes = 256L << 20;

    /// <summary>The most files.</summary>
    public const int MaxFiles = 512;

    private const int MaxNameLength = 200;
    private static readonly string[] s_endings = [".dll", ".pdb", ".pt", ".onnx"];
    private static readonly DateTimeOffset s_anyTime = new(1980, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>Makes a package.</summary>
    /// <param name="files">Names as "Assembly.dll" or "Assembly.pdb", "module.pt" or "module.onnx", and contents.</param>
    /// <exception cref="ArgumentException">It would be too large, or a name is none.</exception>
    public static byte[] Write(IEnumerable<KeyValuePair<string, byte[]>> files)
    {
        ArgumentNullException.ThrowIfNull(files);
        var sorted = files.OrderBy(f => f.Key, StringComparer.Ordinal).ToList();
        using var stream = new MemoryStream();
        using (var zip = new ZipArchive(stream, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, content) in sorted)
            {
                if (!IsName(name))
                    throw new ArgumentException($"Assembly file \"{VisibleText.Shortened(name)}\" has a name that cannot travel, expected letters, digits, '.', '-', '_' and '+', with .dll, .pdb, .pt or .onnx behind.", nameof(files));
                var entry = zip.CreateEntry(name, CompressionLevel.Optimal);
                entry.LastWriteTime = s_anyTime;
                using var target = entry.Open();
                target.Write(content);
            }
        }

        var bytes = stream.ToArray();
        var total = sorted.Sum(f => (long)f.Value.Length);
        if (sorted.Count > MaxFiles || total > MaxUnpackedBytes || bytes.Length > MaxBytes)
        {
            var largest = sorted.OrderByDescending(f => f.Value.Length).Take(3).Select(f => $"{f.Key} ({f.Value.Length:N0})");
            throw new ArgumentException($"The assemblies of the module are {sorted.Count:N0} files of {total:N0} bytes, {bytes.Length:N0} packed, expected at most {MaxFiles} of {MaxUnpackedBytes:N0}, {MaxBytes:N0} packed. The largest are {string.Join(", ", largest)}: put the module into a class library of its own, with few references.", nameof(files));
        }

        return bytes;
    }

    /// <summary>Reads a package, of which nothing is believed.</summary>
    /// <exception cref="FormatException">It is none, or too large.</exception>
    public static IReadOnlyDictionary<string, byte[]> Read(byte[] package)
    {
        ArgumentNullException.ThrowIfNull(package);
        try
        {
            if (package.Length > MaxBytes)
                throw new FormatException($"The code package has {package.Length:N0} bytes, expected at most {MaxBytes:N0}.");
            using var zip = new ZipArchive(new MemoryStream(package), ZipArchiveMode.Read);
            if (zip.Entries.Count > MaxFiles)
                throw new FormatException($"The code package has {zip.Entries.Count:N0} files, expected at most {MaxFiles}.");
            var files = new Dictionary<string, byte[]>(StringComparer.OrdinalIgnoreCase);
            var left = MaxUnpackedBytes;
            foreach (var entry in zip.Entries)
            {
                if (!IsName(entry.FullName) || files.ContainsKey(entry.FullName))
                    throw new FormatException($"The code package has a file \"{VisibleText.Shortened(entry.FullName)}\", expected plain names of assemblies, each once.");
                files[entry.FullName] = Unpack(entry, left);
                left -= files[entry.FullName].Length;
            }

            return files;
        }
        catch (InvalidDataException e)
        {
            throw new FormatException($"The code package cannot be read ({e.Message.TrimEnd('.')}), expected what the client packs. Submit the job again.", e);
        }
    }

    // What the entry says of its size is not believed either.
    private static byte[] Unpack(ZipArchiveEntry entry, long most)
    {
        if (entry.Length > most)
            throw new FormatException($"The code package unpacks to more than {MaxUnpackedBytes:N0} bytes, expected at most that.");
        using var source = entry.Open();
        using var content = new MemoryStream();
        var buffer = new byte[1 << 16];
        int read;
        while ((read = source.Read(buffer)) > 0)
        {
            if (content.Length + read > most)
                throw new FormatException($"The code package unpacks to more than {MaxUnpackedBytes:N0} bytes, expected at most that.");
            content.Write(buffer, 0, read);
        }

        return content.ToArray();
    }

    private static bool IsName(string name) =>
        name.Length is > 4 and <= MaxNameLength && Array.Exists(s_endings, ending => name.EndsWith(ending, StringComparison.OrdinalIgnoreCase))
        && name[0] != '.' && name.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_' or '+');
}
