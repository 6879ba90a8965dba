using MLDistributed.Protocol;

namespace MLDistributed.Training.Models;

/// <summary>The kinds of modules that jobs can ask for.</summary>
internal static class ModuleSources
{
    /// <summary>What a job trains.</summary>
    /// <exception cref="FormatException">It is of a later release.</exception>
    public static IModuleSource Of(RankStart start) => start.Spec.Module?.ModuleCase switch
    {
        ModuleSpec.ModuleOneofCase.Mlp => new MlpSource(start.Spec.Module.Mlp, start.Spec.Seed, start.Spec.Precision),
        ModuleSpec.ModuleOneofCase.Torch => UserModule.Open(start),
        ModuleSpec.ModuleOneofCase.Text => new TextSource(start.Spec.Module.Text, start.Spec.Seed, start.StartingWeightsPath),
        ModuleSpec.ModuleOneofCase.Image => new ImageSource(start.Spec.Module.Image, start.Spec.Seed),
        _ => throw new FormatException($"The job's module is {start.Spec.Module?.ModuleCase}, expected a kind that this worker's release knows. Use the same release on both sides."),
    };
}
