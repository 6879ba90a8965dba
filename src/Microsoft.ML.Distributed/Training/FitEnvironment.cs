using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>What a trainer takes from its MLContext.</summary>
internal static class FitEnvironment
{
    /// <summary>The seed: the context's own where it has one, so that two trainers of one kind agree; else drawn, once a trainer, so that all fits of it do.</summary>
    public static ulong Seed(IHostEnvironment environment, NeuralNetworkOptions options, IHost host) =>
        (ulong)(uint)(options.Seed ?? (environment as IHostEnvironmentInternal)?.Seed ?? host.Rand.Next());

    /// <summary>MLContext.TempFilePath where it was set; null where it is what it is by default.</summary>
    public static string? EncodingFolder(IHostEnvironment environment) =>
        (environment as IHostEnvironmentInternal)?.TempFilePath is { Length: > 0 } folder && Path.TrimEndingDirectorySeparator(folder) != Path.TrimEndingDirectorySeparator(Path.GetTempPath()) ? folder : null;
}
