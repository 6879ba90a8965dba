using System.Buffers.Binary;
using System.Text.Json;

namespace MLDistributed.Protocol.Weights;

/// <summary>What a safetensors file begins with (huggingface.co/docs/safetensors): a length (8 bytes, little-endian) and a JSON text.</summary>
public static class SafetensorsHeader
{
    private const string Metadata = "__metadata__";

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

    /// <summary>Reads the JSON text.</summary>
    /// <param name="json">Without the length before it.</param>
    /// <param name="metadata">Gets free text by name; null: it is not looked at.</param>
    /// <param name="invalid">Makes the error of a text that is none, of what is wrong with it.</param>
    /// <returns>What it says of the tensors, unchecked: <see cref="SafetensorsEntry.Fits"/>.</returns>
    public static IReadOnlyList<SafetensorsEntry> Parse(byte[] json, IDictionary<string, string>? metadata, Func<string, Exception?, FormatException> invalid)
    {
        ArgumentNullException.ThrowIfNull(invalid);
        try
        {
            using var document = JsonDocument.Parse(json);
            var entries = new List<SafetensorsEntry>();
            foreach (var property in document.RootElement.EnumerateObject())
            {
                if (property.NameEquals(Metadata))
                {
                    if (metadata is not null)
                        foreach (var text in property.Value.EnumerateObject())
                            metadata[text.Name] = text.Value.GetString()!;
                    continue;
                }

                var offsets = property.Value.GetProperty("data_offsets");
                var shape = property.Value.GetProperty("shape").EnumerateArray().Select(s => s.GetInt64()).ToArray();
                entries.Add(new SafetensorsEntry(property.Name, property.Value.GetProperty("dtype").GetString() ?? "", shape, offsets[0].GetInt64(), offsets[1].GetInt64()));
            }

            return entries;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or OverflowException or IndexOutOfRangeException)
        {
            throw invalid("has a header that cannot be read", e);
        }
    }

    /// <summary>The bytes of the data.</summary>
    public static long DataBytes(IEnumerable<(string Name, long[] Shape)> tensors) => tensors.Sum(t => BytesOf(t.Shape));

    private static void WriteJson(Utf8JsonWriter json, IReadOnlyList<(string Name, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        var at = 0L;
        json.WriteStartObject();
        if (metadata is { Count: > 0 })
        {
            json.WriteStartObject(Metadata);
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

/// <summary>A tensor as a file's header has it.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its numbers', as "F32".</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Begin">Its first byte, of the data.</param>
/// <param name="End">The byte after its last.</param>
public sealed record SafetensorsEntry(string Name, string Type, long[] Shape, long Begin, long End)
{
    /// <summary>Whether it lies within the data, with as many bytes as its shape asks for.</summary>
    /// <param name="elementBytes">Of one number; 0: not known, and its size is not looked at.</param>
    /// <param name="dataBytes">Of the data.</param>
    public bool Fits(int elementBytes, long dataBytes) =>
        Begin >= 0 && End >= Begin && End <= dataBytes && !Shape.Any(d => d < 0)
        && (elementBytes == 0 || Shape.Aggregate((Int128)elementBytes, (bytes, d) => Int128.Min(bytes * d, long.MaxValue)) == End - Begin);
}
