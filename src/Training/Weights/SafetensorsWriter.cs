using System.Runtime.InteropServices;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Training.Weights;

/// <summary>Writes float32 tensors in the safetensors format. The file appears whole or not at all.</summary>
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
        try
        {
            _stream.Write(SafetensorsHeader.Create(tensors, metadata));
            _left = SafetensorsHeader.DataBytes(tensors);
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
}
