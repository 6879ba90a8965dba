using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// Writes float32 tensors in the safetensors format (huggingface.co/docs/safetensors): the header's length (8 bytes,
/// little-endian), a JSON header, the data. The file appears whole or not at all.
/// </summary>
internal sealed class SafetensorsWriter : IDisposable
{
    private readonly string _path;
    private readonly string _temporary;
    private readonly FileStream _stream;
    private long _left;

    /// <param name="path">An existing file is replaced by <see cref="Complete"/>.</param>
    /// <param name="tensors">All tensors, in the order in which their data will come.</param>
    /// <param name="metadata">Free text by name.</param>
    public SafetensorsWriter(string path, IReadOnlyList<(string Name, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        _path = path;
        _temporary = path + ".part";
        // Without a buffer: closing has nothing to write, so that it cannot fail on a full disk.
        _stream = new FileStream(_temporary, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
        var header = Header(tensors, metadata);
        Span<byte> length = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        try
        {
            _stream.Write(length);
            _stream.Write(header);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Appends data of the next tensor or of a part of it.</summary>
    public void Write(ReadOnlySpan<float> values)
    {
        _stream.Write(MemoryMarshal.AsBytes(values));
        _left -= values.Length * (long)sizeof(float);
    }

    /// <inheritdoc cref="Write(ReadOnlySpan{float})"/>
    public unsafe void Write(float* values, long length)
    {
        const int piece = 1 << 28;
        for (var start = 0L; start < length; start += piece)
            Write(new ReadOnlySpan<float>(values + start, (int)Math.Min(piece, length - start)));
    }

    /// <summary>Makes the file durable and gives it its name.</summary>
    public void Complete()
    {
        if (_left != 0)
            throw new InvalidOperationException($"File \"{_path}\" got {-_left} bytes more than its header lists.");
        _stream.Flush(flushToDisk: true);
        _stream.Dispose();
        File.Move(_temporary, _path, overwrite: true);
    }

    /// <summary>Removes what was written, unless it is complete.</summary>
    public void Dispose()
    {
        _stream.Dispose();
        File.Delete(_temporary);
    }

    private byte[] Header(IReadOnlyList<(string Name, long[] Shape)> tensors, IReadOnlyDictionary<string, string>? metadata)
    {
        using var memory = new MemoryStream();
        using (var json = new Utf8JsonWriter(memory))
        {
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
                json.WriteNumberValue(_left);
                _left += shape.Aggregate((long)sizeof(float), (a, b) => checked(a * b));
                json.WriteNumberValue(_left);
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Spaces up to a multiple of 8, so that the data is aligned.
        while (memory.Length % 8 != 0)
            memory.WriteByte((byte)' ');
        return memory.ToArray();
    }
}
