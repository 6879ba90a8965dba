using System.Buffers.Binary;
using System.Text.Json;

namespace MLDistributed.Protocol.Weights;

/// <summary>What a safetensors file begins with (huggingface.co/docs/safetensors): a length (8 bytes, little-endian) and a JSON text.</summary>
public static class SafetensorsHeader
{
    // The data behind it is aligned.
    private const int Alignment = 8;

    /// <summary>The bytes before the data.</summary>
    /// <param name="tensors">All tensors, float32, in the order of their data.</param>
    /// <param name="metadata">Free text by name.</param>
    /// <param name="size">How many bytes it is to be; spaces fill it up. 0: as few as will do.</param>
    /// <exception cref="InvalidOperationException">It takes more than <paramref name="size"/>.</exception>
    public static byte[] Create(IReadOnlyList<(string Name, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata, int size = 0)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        using var memory = new MemoryStream();
        memory.SetLength(memory.Position = sizeof(ulong));
        using (var json = new Utf8JsonWriter(memory))
            WriteJson(json, tensors, metadata);
        if (size > 0 && memory.Length > size)
            throw new InvalidOperationException($"Header of {tensors.Count} tensors takes {memory.Length} bytes, expected at most {size}.");
        while (memory.Length < size || memory.Length % Alignment != 0)
            memory.WriteByte((byte)' ');
        var header = memory.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)header.Length - sizeof(ulong));
        return header;
    }

    /// <summary>The bytes of the data.</summary>
    public static long DataBytes(IEnumerable<(string Name, long[] Shape)> tensors) => tensors.Sum(t => BytesOf(t.Shape));

    private static void WriteJson(Utf8JsonWriter json, IReadOnlyList<(string Name, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var at = 0L;
        json.WriteStartObject();
        if (metadata is { Count: > 0 })
        {
            json.WriteStartObject("__metadata__");
            foreach (var (name, value) in metadata)
                json.WriteString(name, value);
            json.WriteEndObject();
        }

        foreach (var (name, shape) in tensors)
        {
            json.WriteStartObject(name);
            json.WriteString("dtype", "F32");
            json.WriteStartArray("shape");
            foreach (var size in shape)
                json.WriteNumberValue(size);
            json.WriteEndArray();
            json.WriteStartArray("data_offsets");
            json.WriteNumberValue(at);
            at += BytesOf(shape);
            json.WriteNumberValue(at);
            json.WriteEndArray();
            json.WriteEndObject();
        }

        json.WriteEndObject();
    }

    private static long BytesOf(long[] shape) => shape.Aggregate((long)sizeof(float), (a, b) => checked(a * b));
}
