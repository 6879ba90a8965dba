using System.Runtime.InteropServices;

namespace MLDistributed.Worker.Ranks;

/// <summary>Where the system puts the code of processes: at random addresses, unless asked not to. Linux only.</summary>
internal static partial class AddressSpace
{
    private const ulong Query = 0xffffffff;
    private const ulong NoRandomization = 0x0040000; // ADDR_NO_RANDOMIZE of <linux/personality.h>

    /// <summary>Runs something whose child processes have their code at the same addresses; at random ones where the system refuses, as some containers do.</summary>
    /// <param name="start">Starts them on the calling thread, whose attribute it is.</param>
    public static T WithoutRandomization<T>(Func<T> start)
    {
        if (!OperatingSystem.IsLinux())
            return start();
        var before = Personality(Query);
        if (before < 0 || Personality((uint)before | NoRandomization) < 0)
            return start();
        try
        {
            return start();
        }
        finally
        {
            _ = Personality((uint)before);
        }
    }

    [LibraryImport("libc", EntryPoint = "personality")]
    private static partial int Personality(ulong persona);
}
