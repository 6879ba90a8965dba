using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace MLDistributed.Protocol.Weights;

/// <summary>
/// Reads and writes whole safetensors files (huggingface.co/docs/safetensors). Nothing in a file is believed: its header is
/// bounded, no tensor lies outside of the file or over another, and nothing is allocated that the file has no bytes for.
/// </summary>
public static class TensorFile
{
    /// <summary>The most bytes of a file: one array's.</summary>
    public const long MaxBytes = 2_000_000_000;

    private const int MaxHeaderBytes = 16 << 20;
    private const int MaxTensors = 100_000;

    /// <summary>Writes tensors as float32.</summary>
    /// <exception cref="ArgumentException">They are larger than a file may be.</exception>
    public static byte[] Write(IReadOnlyCollection<NamedTensor> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        var list = tensors.Select(t => (t.Name, t.Shape)).ToList();
        var header = SafetensorsHeader.Create(list, metadata: null);
        var size = header.Length + SafetensorsHeader.DataBytes(list);
        if (size > MaxBytes)
            throw new ArgumentException($"Weights take {size:N0} bytes, expected at most {MaxBytes:N0}. Take a smaller model.", nameof(tensors));
        var file = new byte[size];
        header.CopyTo(file, 0);
        var at = header.Length;
        foreach (var tensor in tensors)
        {
            var part = file.AsSpan(at, tensor.Values.Length * sizeof(float));
            MemoryMarshal.AsBytes(tensor.Values.AsSpan()).CopyTo(part);
            if (!BitConverter.IsLittleEndian)
                for (var i = 0; i < part.Length; i += sizeof(float))
                    part.Slice(i, sizeof(float)).Reverse();
            at += part.Length;
        }

        return file;
    }

    /// <summary>Reads the tensors of floating-point numbers (float32, float16, bfloat16); those of other types are left out.</summary>
    /// <param name="stream">The file, from its beginning; one that can be sought in.</param>
    /// <exception cref="FormatException">It is no safetensors file, or holds numbers that are not finite.</exception>
    public static IReadOnlyDictionary<string, NamedTensor> Read(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        var size = stream.Length - stream.Position;
        if (size > MaxBytes)
            throw Invalid($"has {size:N0} bytes, expected at most {MaxBytes:N0}");
        var prefix = new byte[sizeof(ulong)];
        ReadAll(stream, prefix);
        var headerLength = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (headerLength > (ulong)Math.Min(Math.Max(0, size - sizeof(ulong)), MaxHeaderBytes))
            throw Invalid($"says that its header has {headerLength:N0} bytes, expected at most {MaxHeaderBytes:N0} and the file's {size:N0}");
        var header = new byte[headerLength];
        ReadAll(stream, header);
        var tensors = new Dictionary<string, NamedTensor>(StringComparer.Ordinal);
        var at = 0L;
        foreach (var entry in Entries(header, size - sizeof(ulong) - header.Length).OrderBy(e => e.Begin).ThenBy(e => e.End))
        {
            if (entry.Begin != at)
                throw Invalid($"has the tensor \"{VisibleText.Shortened(entry.Name)}\" at {entry.Begin:N0}, expected it behind the one before, at {at:N0}");
            var bytes = new byte[entry.End - entry.Begin];
            ReadAll(stream, bytes);
            at = entry.End;
            if (Values(entry, bytes) is { } values)
                tensors[entry.Name] = new NamedTensor(entry.Name, entry.Shape, values);
        }

        return tensors;
    }

    private static List<Entry> Entries(byte[] header, long dataBytes)
    {
        try
        {
            using var json = JsonDocument.Parse(header);
            var entries = new List<Entry>();
            foreach (var property in json.RootElement.EnumerateObject().Where(p => !p.NameEquals("__metadata__")))
            {
                if (entries.Count == MaxTensors)
                    throw Invalid($"has more than {MaxTensors:N0} tensors");
                var (type, offsets) = (property.Value.GetProperty("dtype").GetString() ?? "", property.Value.GetProperty("data_offsets"));
                var shape = property.Value.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64()).ToArray();
                var entry = new Entry(property.Name, type, shape, offsets[0].GetInt64(), offsets[1].GetInt64());
                if (shape.Any(d => d < 0) || entry.Begin < 0 || entry.End < entry.Begin || entry.End > dataBytes
                    || (SizeOf(type) is var size and > 0 && entry.End - entry.Begin != shape.Aggregate((long)size, (a, b) => checked(a * b))))
                    throw Invalid($"has a tensor \"{VisibleText.Shortened(entry.Name)}\" [{string.Join(", ", shape.Take(8))}] of {VisibleText.Shortened(type)} at {entry.Begin:N0} to {entry.End:N0}, which are not its bytes, or lie outside");
                entries.Add(entry);
            }

            return entries;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or OverflowException or IndexOutOfRangeException)
        {
            throw Invalid("has a header that cannot be read", e);
        }
    }

    private static int SizeOf(string type) => type switch { "F32" => sizeof(float), "F16" or "BF16" => sizeof(ushort), _ => 0 };

    private static float[]? Values(Entry entry, byte[] bytes)
    {
        var size = SizeOf(entry.Type);
        if (size == 0)
            return null;
        var values = new float[bytes.Length / size];
        for (var i = 0; i < values.Length; i++)
        {
            var part = bytes.AsSpan(i * size, size);
            values[i] = entry.Type switch
            {
                "F32" => BinaryPrimitives.ReadSingleLittleEndian(part),
                "F16" => (float)BinaryPrimitives.ReadHalfLittleEndian(part),
                _ => BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(part) << 16),
            };
        }

        var wrong = values.AsSpan().IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
        return wrong < 0 ? values : throw Invalid($"has {values[wrong]} in the tensor \"{VisibleText.Shortened(entry.Name)}\" at {wrong:N0}, expected finite numbers");
    }

    private static void ReadAll(Stream stream, byte[] into)
    {
        if (stream.ReadAtLeast(into, into.Length, throwOnEndOfStream: false) < into.Length)
            throw Invalid("is cut off");
    }

    private static FormatException Invalid(string what, Exception? inner = null) => new($"The file of weights {what}. Expected a complete safetensors file.", inner);

    private sealed record Entry(string Name, string Type, long[] Shape, long Begin, long End);
}
