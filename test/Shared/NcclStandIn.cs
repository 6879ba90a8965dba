using System.Diagnostics;
using System.Runtime.InteropServices;

namespace MLDistributed.Tests.Shared;

/// <summary>libcudart and libnccl over the host's memory, compiled of NcclStandIn.c where there is a compiler.</summary>
internal static unsafe class NcclStandIn
{
    private static readonly Lazy<(string Path, string? Refusal)> s_library = new(Compile);

    /// <summary>Streams, events, page-locked buffers and communicators that were not given back.</summary>
    public static int Alive => ((delegate* unmanaged<int>)Function("standin_alive"))();

    /// <summary>All-reduces that this process's ranks have queued.</summary>
    public static int Sums => Exchanges(0);

    /// <summary>Reduce-scatters that they have queued.</summary>
    public static int Scatters => Exchanges(1);

    /// <summary>All-gathers that they have queued.</summary>
    public static int Gathers => Exchanges(2);

    /// <summary>The library; the test is skipped where it cannot be made.</summary>
    public static string Require()
    {
        if (s_library.Value.Refusal is { } reason)
            Assert.Inconclusive(reason);
        return s_library.Value.Path;
    }

    /// <summary>Has a rank's sums fail after some, with an error that NCCL finds out by itself; -1: no rank's.</summary>
    public static void Fail(int rank, int after = 0) => ((delegate* unmanaged<int, int, void>)Function("standin_fail"))(rank, after);

    private static int Exchanges(int kind) => ((delegate* unmanaged<int, int>)Function("standin_exchanges"))(kind);

    private static nint Function(string name) => NativeLibrary.GetExport(NativeLibrary.Load(s_library.Value.Path), name);

    private static (string Path, string? Refusal) Compile()
    {
        var path = Path.Combine(AppContext.BaseDirectory, "libmldist-nccl-stand-in.so");
        var part = $"{path}.{Environment.ProcessId}";
        try
        {
            if (!OperatingSystem.IsLinux())
                return (path, "The stand-in of NCCL is for Linux.");
            using var gcc = Process.Start(new ProcessStartInfo("gcc", ["-shared", "-fPIC", "-O1", "-pthread", "-x", "c", "-", "-o", part]) { RedirectStandardInput = true, RedirectStandardError = true })!;
            using (var source = typeof(NcclStandIn).Assembly.GetManifestResourceStream("NcclStandIn.c")!)
                source.CopyTo(gcc.StandardInput.BaseStream);
            gcc.StandardInput.Close();
            var words = gcc.StandardError.ReadToEnd();
            gcc.WaitForExit();
            if (gcc.ExitCode != 0)
                return (path, $"The stand-in of NCCL does not compile: {words}");
            File.Move(part, path, overwrite: true);
            return (path, null);
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return (path, $"The stand-in of NCCL needs gcc ({e.Message}).");
        }
    }
}
