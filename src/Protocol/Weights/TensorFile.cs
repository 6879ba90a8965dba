using System.Buffers.Binary;
using System.Runtime.InteropServices;

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

    private static IReadOnlyList<SafetensorsEntry> Entries(byte[] header, long dataBytes)
    {
        var entries = SafetensorsHeader.Parse(header, metadata: null, Invalid);
        if (entries.Count > MaxTensors)
            throw Invalid($"has more than {MaxTensors:N0} tensors");
        return entries.FirstOrDefault(e => !e.Fits(SizeOf(e.Type), dataBytes)) is not { } wrong ? entries
            : throw Invalid($"has a tensor \"{VisibleText.Shortened(wrong.Name)}\" [{string.Join(", ", wrong.Shape.Take(8))}] of {VisibleText.Shortened(wrong.Type)} at {wrong.Begin:N0} to {wrong.End:N0}, which are not its bytes, or lie outside");
    }

    private static int SizeOf(string type) => type switch { "F32" => sizeof(float), "F16" or "BF16" => sizeof(ushort), _ => 0 };

    private static float[]? Values(SafetensorsEntry entry, byte[] bytes)
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
}
