using System.Buffers.Binary;
using System.Security.Cryptography;

namespace MLDistributed.Collectives.Heartbeats;

/// <summary>What a rank sends again and again: who it is, a rising number, and a code that only those make who have the attempt's key.</summary>
/// <param name="Rank">Of whom.</param>
/// <param name="HasLeft">Whether it has done its part, and says nothing else any more.</param>
/// <param name="Number">Higher than of all before: an old packet that comes again says nothing.</param>
internal readonly record struct HeartbeatPacket(int Rank, bool HasLeft, long Number)
{
    public const int Bytes = CodeAt + HMACSHA256.HashSizeInBytes;
    public const int KeyBytes = 32;

    private const int LeftAt = 4;
    private const int NumberAt = 8;
    private const int CodeAt = 16;

    public void Write(Span<byte> to, ReadOnlySpan<byte> key)
    {
        to[..CodeAt].Clear();
        BinaryPrimitives.WriteInt32LittleEndian(to, Rank);
        to[LeftAt] = HasLeft ? (byte)1 : (byte)0;
        BinaryPrimitives.WriteInt64LittleEndian(to[NumberAt..], Number);
        HMACSHA256.HashData(key, to[..CodeAt], to.Slice(CodeAt, HMACSHA256.HashSizeInBytes));
    }

    /// <returns>False: it is of nobody who has the key.</returns>
    public static bool TryRead(ReadOnlySpan<byte> bytes, ReadOnlySpan<byte> key, out HeartbeatPacket packet)
    {
        packet = default;
        if (bytes.Length != Bytes)
            return false;
        Span<byte> code = stackalloc byte[HMACSHA256.HashSizeInBytes];
        HMACSHA256.HashData(key, bytes[..CodeAt], code);
        if (!CryptographicOperations.FixedTimeEquals(code, bytes[CodeAt..]))
            return false;
        packet = new HeartbeatPacket(BinaryPrimitives.ReadInt32LittleEndian(bytes), bytes[LeftAt] != 0, BinaryPrimitives.ReadInt64LittleEndian(bytes[NumberAt..]));
        return true;
    }
}
