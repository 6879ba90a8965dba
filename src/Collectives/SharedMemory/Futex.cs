using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>Waits on a word of shared memory without burning a core: futex(2) on Linux; elsewhere it yields the core.</summary>
internal static unsafe partial class Futex
{
    private const int Wait = 0;
    private const int Wake = 1;

    private static readonly nint s_number = !OperatingSystem.IsLinux() ? 0 : RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 202,
        Architecture.Arm64 => 98,
        _ => 0,
    };

    /// <summary>Whether the system has it.</summary>
    public static bool IsSupported => s_number != 0;

    /// <summary>Returns when the word is woken or differs from <paramref name="expected"/>, after the time, or for no reason.</summary>
    /// <param name="word">In shared memory.</param>
    /// <param name="expected">The value to sleep on.</param>
    /// <param name="atMost">Less than a second.</param>
    /// <param name="native">False: as on a system without futexes.</param>
    public static void WaitWhile(int* word, int expected, TimeSpan atMost, bool native)
    {
        if (!native)
        {
            Thread.Yield();
            return;
        }

        var time = new TimeSpec { Nanoseconds = (nint)(Math.Min(atMost.TotalMilliseconds, 999) * 1_000_000) };
        Syscall(s_number, word, Wait, expected, &time, null, 0);
    }

    /// <summary>Wakes all who wait on the word, in any process.</summary>
    public static void WakeAll(int* word)
    {
        if (IsSupported)
            Syscall(s_number, word, Wake, int.MaxValue, null, null, 0);
    }

    [LibraryImport("libc", EntryPoint = "syscall")]
    private static partial nint Syscall(nint number, int* word, nint operation, nint value, TimeSpec* timeout, int* word2, nint value3);

    private struct TimeSpec
    {
        public nint Seconds;
        public nint Nanoseconds;
    }
}
