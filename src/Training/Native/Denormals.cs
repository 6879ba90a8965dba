using System.Runtime.InteropServices;

namespace MLDistributed.Training.Native;

/// <summary>
/// Denormal numbers, below 1e-38, count as 0 on this thread and on those that it starts. Momentum of a unit that died
/// decays into them, and each of their operations takes a hundred times as long. x64 Linux; elsewhere nothing changes.
/// </summary>
internal static unsafe partial class Denormals
{
    private const int MxcsrOffset = 28; // of glibc's fenv_t, behind the x87 state
    private const int EnvironmentBytes = 32;
    private const uint FlushToZero = 0x8000;
    private const uint DenormalsAreZero = 0x0040;

    public static void Flush()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
            return;
        // Room for a C library whose type is larger.
        var environment = stackalloc byte[4 * EnvironmentBytes];
        if (GetEnvironment(environment) != 0)
            return;
        *(uint*)(environment + MxcsrOffset) |= FlushToZero | DenormalsAreZero;
        _ = SetEnvironment(environment);
    }

    [LibraryImport("libm.so.6", EntryPoint = "fegetenv")]
    private static partial int GetEnvironment(byte* environment);

    [LibraryImport("libm.so.6", EntryPoint = "fesetenv")]
    private static partial int SetEnvironment(byte* environment);
}
