using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Training.Weights;

/// <summary>Reads float32 tensors, or parts of them, of a safetensors file.</summary>
internal sealed class SafetensorsReader : IDisposable
{
    private const long MaxHeaderBytes = 100_000_000;
    private readonly string _path;
    private readonly Microsoft.Win32.SafeHandles.SafeFileHandle _file;
    private readonly Dictionary<string, (long[] Shape, long Start, long Length)> _tensors = [];
    private readonly Dictionary<string, string> _metadata = [];

    /// <exception cref="FormatException">The file is not in the format.</exception>
    public SafetensorsReader(string path)
    {
        _path = path;
        _file = File.OpenHandle(path);
        try
        {
            var size = RandomAccess.GetLength(_file);
            Span<byte> length = stackalloc byte[sizeof(ulong)];
            ReadAll(length, 0);
            var headerLength = BinaryPrimitives.ReadUInt64LittleEndian(length);
            if (headerLength > (ulong)Math.Min(size - sizeof(ulong), MaxHeaderBytes))
                throw Invalid($"has a header of {headerLength} bytes in a file of {size}");
            var header = new byte[headerLength];
            ReadAll(header, sizeof(ulong));
            DataStart = sizeof(ulong) + header.Length;
            ReadHeader(header, size - DataStart);
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    /// <summary>The bytes before the data.</summary>
    public long DataStart { get; }

    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    public IEnumerable<string> Names => _tensors.Keys;

    public bool Has(string name) => _tensors.ContainsKey(name);

    public long[] Shape(string name) => Find(name).Shape;

    /// <summary>Reads elements from <paramref name="start"/> on.</summary>
    public void Read(string name, long start, Span<float> into)
    {
        var (_, at, length) = Find(name);
        if (start < 0 || start + into.Length > length)
            throw Invalid($"has {length} elements in \"{name}\", not {start + into.Length}");
        ReadAll(MemoryMarshal.AsBytes(into), at + start * sizeof(float));
    }

    /// <summary>The checksum (XXH3, 64 bits) of some bytes of the file.</summary>
    public ulong Checksum(long start, long length)
    {
        var hash = new XxHash3();
        var chunk = new byte[(int)Math.Min(length, 1 << 20)];
        for (var done = 0L; done < length; done += chunk.Length)
        {
            var part = chunk.AsSpan(0, (int)Math.Min(chunk.Length, length - done));
            ReadAll(part, start + done);
            hash.Append(part);
        }

        return hash.GetCurrentHashAsUInt64();
    }

    public float[] Read(string name)
    {
        var values = new float[Find(name).Length];
        Read(name, 0, values);
        return values;
    }

    public void Dispose() => _file.Dispose();

    private void ReadHeader(byte[] header, long dataLength)
    {
        foreach (var entry in SafetensorsHeader.Parse(header, _metadata, Invalid))
            _tensors[entry.Name] = entry.Type == "F32" && entry.Fits(sizeof(float), dataLength)
                ? (entry.Shape, DataStart + entry.Begin, (entry.End - entry.Begin) / sizeof(float))
                : throw Invalid($"has a tensor \"{entry.Name}\" that is not float32 or lies outside");
    }

    private void ReadAll(Span<byte> into, long at)
    {
        while (into.Length > 0)
        {
            var read = RandomAccess.Read(_file, into, at);
            if (read == 0)
                throw Invalid("is cut off");
            into = into[read..];
            at += read;
        }
    }

    private (long[] Shape, long Start, long Length) Find(string name) =>
        _tensors.TryGetValue(name, out var tensor) ? tensor : throw Invalid($"has no tensor \"{name}\"");

    private FormatException Invalid(string what, Exception? inner = null) =>
        new($"File \"{_path}\" {what}, expected a complete safetensors file of this job. Remove it and start again.", inner);
}
