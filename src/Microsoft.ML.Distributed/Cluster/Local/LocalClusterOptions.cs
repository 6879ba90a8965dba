using System.Globalization;

namespace Microsoft.ML.Distributed;

/// <summary>What a cluster on this machine consists of.</summary>
public sealed class LocalClusterOptions
{
    /// <summary>Ranks that can train at the same time.</summary>
    /// <value>0: one for each GPU, or one for each core where there is none.</value>
    public int Slots { get; init; }

    /// <summary>What they train on.</summary>
    /// <value><see cref="LocalDevice.Auto"/>.</value>
    public LocalDevice Device { get; init; }

    /// <summary>The folder of the runtime <c>mldist</c>, or the program itself.</summary>
    /// <value>
    /// Null: that in the environment variable <c>MLDIST_RUNTIME</c> (which must be right when it is set), the folder <c>mldist</c>
    /// beside the app, the folder in the app's runtimeconfig.json (<c>MLDistributed.Runtime</c>, which the package
    /// MLDistributed.Local writes), or <c>mldist</c> on the PATH, whichever is there first.
    /// </value>
    public string? RuntimePath { get; init; }

    /// <summary>How long the first job waits for the processes to be ready.</summary>
    /// <value>30 s.</value>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Data sets and models of earlier jobs that are kept, at most a tenth of the disk; a Fit on the same rows finds them.</summary>
    /// <value>128 MiB.</value>
    internal long CacheBytes { get; init; } = 128L << 20;

    internal TimeProvider Time { get; init; } = TimeProvider.System;

    internal void Validate()
    {
        var errors = new List<string>();
        if (Slots < 0)
            errors.Add($"Slots is {Slots}, expected 0 (one for each core or GPU) or more.");
        if (!Enum.IsDefined(Device))
            errors.Add($"Device is {Device}, expected one of {string.Join(", ", Enum.GetNames<LocalDevice>())}.");
        if (StartTimeout <= TimeSpan.Zero)
            errors.Add($"StartTimeout is {StartTimeout}, expected more than zero.");
        if (errors.Count > 0)
            throw new ArgumentException(string.Join(" ", errors));
    }

    internal IEnumerable<string> WorkerArguments()
    {
        if (Slots > 0)
            {
            yield return "--slots";
            yield return Slots.ToString(CultureInfo.InvariantCulture);
        }

        if (Device != LocalDevice.Auto)
            {
            yield return "--device";
            yield return Device == LocalDevice.Cuda ? "cuda" : "cpu";
        }
    }
}

/// <summary>What a local cluster trains on.</summary>
public enum LocalDevice
{
    /// <summary>GPUs where there are any, else cores.</summary>
    Auto,

    /// <summary>Cores.</summary>
    Cpu,

    /// <summary>NVIDIA GPUs.</summary>
    Cuda,
}
