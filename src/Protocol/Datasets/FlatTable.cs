using System.Runtime.InteropServices;
using System.Text;

namespace MLDistributed.Protocol;

/// <summary>A table of a FlatBuffer (flatbuffers.dev): the few reads that Arrow's metadata needs. All stay within
/// the buffer, and nothing is allocated but strings of it: what points elsewhere throws one of the <see cref="IsOutside"/>.</summary>
internal readonly ref struct FlatTable
{
    private readonly ReadOnlySpan<byte> _buffer;
    private readonly int _position;

    private FlatTable(ReadOnlySpan<byte> buffer, int position)
    {
        _buffer = buffer;
        _position = position;
    }

    /// <summary>Whether a read threw because the metadata points out of its buffer.</summary>
    public static bool IsOutside(Exception e) => e is ArgumentException or IndexOutOfRangeException or OverflowException;

    public static FlatTable Root(ReadOnlySpan<byte> buffer) => new(buffer, Read<int>(buffer, 0));

    public bool Has(int field) => Locate(field) != 0;

    public T Value<T>(int field, T missing = default) where T : unmanaged => Locate(field) is var at and not 0 ? Read<T>(_buffer, at) : missing;

    public FlatTable Table(int field) => new(_buffer, Follow(field));

    public string Text(int field)
    {
        var at = Follow(field);
        return Encoding.UTF8.GetString(_buffer.Slice(at + 4, Read<int>(_buffer, at)));
    }

    /// <summary>A vector of structs, in place.</summary>
    public ReadOnlySpan<T> Structs<T>(int field) where T : unmanaged
    {
        if (!Has(field))
            return [];
        var at = Follow(field);
        return MemoryMarshal.Cast<byte, T>(_buffer.Slice(at + 4, checked(Read<int>(_buffer, at) * Marshal.SizeOf<T>())));
    }

    public int TableCount(int field) => Has(field) ? Read<int>(_buffer, Follow(field)) : 0;

    public FlatTable TableAt(int field, int index)
    {
        var at = Follow(field) + 4 + 4 * index;
        return new(_buffer, at + Read<int>(_buffer, at));
    }

    private static T Read<T>(ReadOnlySpan<byte> buffer, int at) where T : unmanaged => MemoryMarshal.Read<T>(buffer[at..]);

    private int Locate(int field)
    {
        var table = _position - Read<int>(_buffer, _position);
        var slot = 4 + 2 * field;
        if (slot >= Read<ushort>(_buffer, table))
            return 0;
        return Read<ushort>(_buffer, table + slot) is var offset and not 0 ? _position + offset : 0;
    }

    private int Follow(int field) => Locate(field) is var at and not 0
        ? at + Read<int>(_buffer, at)
        : throw new FormatException($"Metadata has no field {field} where one is required.");
}
