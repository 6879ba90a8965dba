using System.Diagnostics;
using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Training;

namespace MLDistributed.Worker.Ranks;

/// <summary>What rank processes start in.</summary>
internal sealed class RankEnvironment
{
    private readonly bool _sharesCores;

    /// <summary>
    /// Each rank gets its share of the cores: two ranks with two threads each on two cores are ten times slower than
    /// with one each, as every parallel region waits for a thread that has no core.
    /// </summary>
    /// <param name="cores">Those of the machine.</param>
    /// <param name="slots">How many ranks have them.</param>
    /// <param name="networkInterface">Where ranks meet those of other workers; null or empty: nowhere.</param>
    public RankEnvironment(int cores, int slots, string? networkInterface = null)
    {
        _sharesCores = slots > cores;
        var threads = Math.Max(1, cores / slots).ToString(CultureInfo.InvariantCulture);
        var variables = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["OMP_NUM_THREADS"] = threads,
            ["MKL_NUM_THREADS"] = threads,
            // A second thread that collects would do so in the middle of native calls.
            ["DOTNET_gcConcurrent"] = "0",
            ["DOTNET_gcServer"] = "0",
            ["DOTNET_TieredPGO"] = "0",   // no instrumented code in between: quicker to warm up
            // Milliseconds, as hexadecimal. The runtime's own, and not mldist's: a step's code is to be its best as soon as can be.
            ["DOTNET_TC_CallCountingDelayMs"] = "64",
            // A killed process leaves its diagnostics sockets in the temp folder, and ranks end by being killed.
            ["DOTNET_EnableDiagnostics"] = "0",
            // The C library keeps what a step frees for the next one. By default it gives large blocks back to the system,
            // and every page of every activation is then mapped and zeroed again: a sixth of a convolutional network's step.
            ["MALLOC_MMAP_MAX_"] = "0",
            ["MALLOC_TRIM_THRESHOLD_"] = "1099511627776",
            ["MALLOC_TOP_PAD_"] = "67108864",
            // So that cuda:i is the device that NVML lists as i.
            ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID",
            // Where NCCL's ranks find one another, and send: it looks once in a process's life. "=": no other that begins so.
            ["NCCL_SOCKET_IFNAME"] = string.IsNullOrEmpty(networkInterface) ? "lo" : $"={networkInterface}",
            // Else it would take InfiniBand where there is some, whatever network the operator has named.
            ["NCCL_NET"] = "Socket",
        };
        if (_sharesCores)
        {
            variables["OMP_WAIT_POLICY"] = "passive";
            variables[RankTraining.SharesCoresVariable] = "1";
        }

        Variables = variables;
    }

    public IReadOnlyDictionary<string, string> Variables { get; }

    /// <summary>
    /// Starts a rank. Those that share cores have libtorch at the same addresses: a core that changes to another rank keeps
    /// what it knows of the code's branches. With random addresses it learns them anew, at each barrier, which takes as
    /// long as the step of a small model.
    /// </summary>
    public Process Start(ProcessStartInfo start)
    {
        ChildEnvironment.Clean(start.Environment);
        foreach (var (name, value) in Variables)
            start.Environment[name] = value;
        ChildEnvironment.ApplyEscapes(start.Environment);
        return _sharesCores ? AddressSpace.WithoutRandomization(() => Process.Start(start)!) : Process.Start(start)!;
    }
}
