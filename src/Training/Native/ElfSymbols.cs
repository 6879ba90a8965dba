using System.Runtime.InteropServices;
using System.Text;

namespace MLDistributed.Training.Native;

/// <summary>Reads which functions a 64-bit little-endian ELF library wants of others (section .dynsym).</summary>
internal static class ElfSymbols
{
    private const uint SectionTypeDynamicSymbols = 11;
    private const int SymbolBytes = 24;
    private const int Global = 1;

    /// <summary>The names that it does not define and must have.</summary>
    /// <exception cref="FormatException">The bytes are not such a library.</exception>
    public static IReadOnlyList<string> Needed(ReadOnlySpan<byte> library)
    {
        try
        {
            return NeededBy(library);
        }
        catch (Exception e) when (e is ArgumentOutOfRangeException or OverflowException)
        {
            throw new FormatException("Library is cut off: a table points past its end.", e);
        }
    }

    private static List<string> NeededBy(ReadOnlySpan<byte> library)
    {
        if (library.Length < 64 || !library[..6].SequenceEqual<byte>([0x7f, (byte)'E', (byte)'L', (byte)'F', 2, 1]))
            throw new FormatException("Library is not a 64-bit little-endian ELF file.");
        var sections = Read<long>(library, 0x28);
        var sectionSize = Read<ushort>(library, 0x3a);
        var names = new List<string>();
        for (var i = 0; i < Read<ushort>(library, 0x3c); i++)
        {
            var section = sections + (long)i * sectionSize;
            if (Read<uint>(library, section + 4) != SectionTypeDynamicSymbols)
                continue;
            var (start, bytes) = (Read<long>(library, section + 24), Read<long>(library, section + 32));
            var strings = Read<long>(library, sections + Read<int>(library, section + 40) * (long)sectionSize + 24);
            for (var symbol = start; symbol < start + bytes; symbol += SymbolBytes)
                if (Read<byte>(library, symbol + 4) >> 4 == Global && Read<ushort>(library, symbol + 6) == 0)
                    names.Add(Text(library, strings + Read<uint>(library, symbol)));
        }

        return names;
    }

    private static string Text(ReadOnlySpan<byte> library, long at)
    {
        var rest = library[checked((int)at)..];
        return Encoding.ASCII.GetString(rest[..rest.IndexOf((byte)0)]);
    }

    private static T Read<T>(ReadOnlySpan<byte> library, long at) where T : unmanaged => MemoryMarshal.Read<T>(library[checked((int)at)..]);
}
