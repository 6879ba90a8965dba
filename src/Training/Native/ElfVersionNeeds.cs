using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace MLDistributed.Training.Native;

/// <summary>Edits the symbol versions that a 64-bit little-endian ELF library needs (section .gnu.version_r).</summary>
internal static class ElfVersionNeeds
{
    private const uint SectionTypeVersionNeeds = 0x6ffffffe;
    private const ushort WeakFlag = 2;

    /// <summary>Marks a needed version as weak, so that a system without it only warns. Returns how many entries were marked.</summary>
    /// <exception cref="FormatException">The bytes are not such a library.</exception>
    public static int Weaken(Span<byte> library, string version)
    {
        try
        {
            return WeakenIn(library, Encoding.ASCII.GetBytes(version));
        }
        catch (ArgumentOutOfRangeException e)
        {
            throw new FormatException("Library is cut off: a table points past its end.", e);
        }
    }

    private static int WeakenIn(Span<byte> library, ReadOnlySpan<byte> version)
    {
        if (library.Length < 64 || !library[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
            throw new FormatException("Library is not a 64-bit little-endian ELF file.");
        var sections = Read<long>(library, 0x28);
        var sectionSize = Read<ushort>(library, 0x3a);
        var sectionCount = Read<ushort>(library, 0x3c);
        var marked = 0;
        for (var i = 0; i < sectionCount; i++)
        {
            var section = sections + (long)i * sectionSize;
            if (Read<uint>(library, section + 4) != SectionTypeVersionNeeds)
                continue;
            var strings = Read<long>(library, sections + Read<int>(library, section + 40) * (long)sectionSize + 24);
            marked += WeakenSection(library, Read<long>(library, section + 24), Read<int>(library, section + 44), strings, version);
        }

        return marked;
    }

    private static int WeakenSection(Span<byte> library, long need, int needCount, long strings, ReadOnlySpan<byte> version)
    {
        var marked = 0;
        for (var i = 0; i < needCount; i++)
        {
            var entry = need + Read<int>(library, need + 8);
            for (var j = Read<ushort>(library, need + 2); j > 0; j--)
            {
                if (IsString(library, strings + Read<int>(library, entry + 8), version))
                {
                    var flags = Slice(library, entry + 4, sizeof(ushort));
                    MemoryMarshal.Write(flags, (ushort)(MemoryMarshal.Read<ushort>(flags) | WeakFlag));
                    marked++;
                }

                entry += Read<int>(library, entry + 12);
            }

            need += Read<int>(library, need + 12);
        }

        return marked;
    }

    private static bool IsString(Span<byte> library, long at, ReadOnlySpan<byte> expected) =>
        Slice(library, at, expected.Length).SequenceEqual(expected) && Slice(library, at + expected.Length, 1)[0] == 0;

    private static T Read<T>(Span<byte> library, long at) where T : unmanaged => MemoryMarshal.Read<T>(Slice(library, at, Unsafe.SizeOf<T>()));

    private static Span<byte> Slice(Span<byte> library, long at, int length) => library.Slice(checked((int)at), length);
}
