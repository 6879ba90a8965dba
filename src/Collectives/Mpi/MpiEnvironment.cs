using System.Globalization;
using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// What MPICH and UCX read from the C library's environment. <see cref="Environment.SetEnvironmentVariable(string, string)"/>
/// changes .NET's own copy only.
/// </summary>
internal static partial class MpiEnvironment
{
    /// <summary>Before the library is loaded.</summary>
    public static void Apply(MpiOptions options, int pmiDescriptor)
    {
        // One rank a host in MPI's eyes: what it would do by shared memory, ours do before.
        Set("UCX_TLS", "tcp,self");
        if (options.NetworkInterface.Length > 0)
            Set("UCX_NET_DEVICES", options.NetworkInterface);
        Set("UCX_TCP_PORT_RANGE", $"{options.FirstPort}-{options.LastPort}");
        ApplyToProcess();
        Set("PMI_FD", Text(pmiDescriptor));
        Set("PMI_RANK", Text(options.Rank));
        Set("PMI_SIZE", Text(options.WorldSize));
        Set("PMI_SPAWNED", "0");
    }

    /// <summary>What keeps the library from changing this process.</summary>
    public static void ApplyToProcess()
    {
        // UCX would take SIGSEGV from .NET: a caught NullReferenceException would then end the process.
        Set("UCX_ERROR_SIGNALS", "");
        Set("UCX_MEM_MMAP_HOOK_MODE", "none");
        Set("UCX_WARN_UNUSED_ENV_VARS", "n");
        Set("UCX_LOG_LEVEL", "error");
        Set("UCX_LOG_FILE", "stderr");
        Set("MPIR_CVAR_ENABLE_GPU", "0");
    }

    private static string Text(int number) => number.ToString(CultureInfo.InvariantCulture);

    private static void Set(string name, string value)
    {
        if (SetVariable(name, value, overwrite: 1) != 0)
            throw new CollectiveException($"Environment variable \"{name}\" could not be set for MPI.");
    }

    [LibraryImport("libc", EntryPoint = "setenv", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int SetVariable(string name, string value, int overwrite);
}
