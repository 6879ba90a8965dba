using System.Buffers;
using Google.Protobuf;
using MLDistributed.Protocol;

namespace MLDistributed.Worker.Ranks;

/// <summary>Reads messages with a varint length before each. One reader at a time.</summary>
internal sealed class FrameReader(Stream stream)
{
    private const int MaxLength = 256 << 20;
    private byte[] _buffer = new byte[4096];
    private int _start;
    private int _end;

    /// <summary>The next message; null at the end of the stream.</summary>
    public async ValueTask<T?> ReadAsync<T>(MessageParser<T> parser, CancellationToken cancellation)
        where T : class, IMessage<T>
    {
        while (true)
        {
            if (TryParse(parser, out var needed) is { } message)
                return message;
            MakeRoom(needed);
            var read = await stream.ReadAsync(_buffer.AsMemory(_end), cancellation).ConfigureAwait(false);
            if (read == 0)
                return null;
            _end += read;
        }
    }

    private T? TryParse<T>(MessageParser<T> parser, out int needed)
        where T : class, IMessage<T>
    {
        needed = 1;
        long length = 0;
        for (int i = _start, shift = 0; i < _end; i++, shift += 7)
        {
            length |= (long)(_buffer[i] & 0x7F) << shift;
            if (length > MaxLength || shift > 28)
                throw new InvalidDataException($"A message between agent and rank has {length} bytes, expected at most {MaxLength}.");
            if ((_buffer[i] & 0x80) != 0)
                continue;
            var body = i + 1;
            if (_end - body < length)
            {
                needed = body - _start + (int)length;
                return null;
            }

            _start = body + (int)length;
            var message = parser.ParseFrom(_buffer, body, (int)length);
            WireRules.Clip(message);
            return WireRules.Refusal(message) is { } refusal ? throw new InvalidDataException($"A message between agent and rank cannot be used: {refusal}") : message;
        }

        return null;
    }

    // Keeps at least one byte free behind the unread ones, and room for the message that is being read.
    private void MakeRoom(int needed)
    {
        var unread = _end - _start;
        if (_start > 0)
            _buffer.AsSpan(_start, unread).CopyTo(_buffer);
        (_start, _end) = (0, unread);
        if (_buffer.Length <= Math.Max(unread, needed))
            Array.Resize(ref _buffer, (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)Math.Max(unread, needed) + 1));
    }
}

/// <summary>Writes messages with a varint length before each, from any thread. Allocates nothing once its buffer has grown.</summary>
internal sealed class FrameWriter(Stream stream)
{
    private const int MaxVarint = 5;
    private readonly Lock _gate = new();
    private byte[] _buffer = new byte[1024];

    /// <summary>Blocks while the other side does not read.</summary>
    public void Write(IMessage message)
    {
        lock (_gate)
        {
            var length = message.CalculateSize();
            if (_buffer.Length < length + MaxVarint)
                _buffer = new byte[(int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)(length + MaxVarint))];
            var header = 0;
            var rest = (uint)length;
            for (; rest >= 0x80; rest >>= 7)
                _buffer[header++] = (byte)(rest | 0x80);
            _buffer[header++] = (byte)rest;
            message.WriteTo(_buffer.AsSpan(header, length));
            stream.Write(_buffer, 0, header + length);
        }
    }
}
