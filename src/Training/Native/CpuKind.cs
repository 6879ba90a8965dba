using System.Runtime.InteropServices;

namespace MLDistributed.Training.Native;

/// <summary>
/// What decides which kernels libtorch and its libraries run, and so in which order they add: the processor's model and
/// its vector instructions.
/// </summary>
internal static class CpuKind
{
    private static readonly string[] s_instructions = ["sse4_2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve"];

    /// <summary>This machine's, in words.</summary>
    public static string Here { get; } = OperatingSystem.IsLinux() && File.Exists("/proc/cpuinfo")
        ? Of(File.ReadLines("/proc/cpuinfo"))
        : RuntimeInformation.ProcessArchitecture.ToString();

    /// <summary>That of the first processor in the lines of /proc/cpuinfo.</summary>
    public static string Of(IEnumerable<string> lines)
    {
        var values = lines.TakeWhile(line => line.Length > 0)
            .Select(line => line.Split(':', 2, StringSplitOptions.TrimEntries))
            .Where(pair => pair.Length == 2)
            .DistinctBy(pair => pair[0])
            .ToDictionary(pair => pair[0], pair => pair[1]);
        var flags = (values.GetValueOrDefault("flags") ?? values.GetValueOrDefault("Features") ?? "").Split(' ');
        var name = values.GetValueOrDefault("model name") ?? values.GetValueOrDefault("CPU implementer") ?? "unnamed";
        return $"{name}, family {values.GetValueOrDefault("cpu family") ?? values.GetValueOrDefault("CPU architecture")} model {values.GetValueOrDefault("model") ?? values.GetValueOrDefault("CPU part")} ({string.Join(' ', s_instructions.Intersect(flags))})";
    }
}
