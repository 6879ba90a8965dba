using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>The scorer of each kind of module.</summary>
internal static class NetworkScorer
{
    /// <summary>Reads a job's model.</summary>
    /// <param name="onnx">The bytes of its file, of which nothing is believed.</param>
    /// <param name="spec">The job that trained it.</param>
    /// <exception cref="FormatException">The file is not one that such a job leaves.</exception>
    public static IScorer Read(byte[] onnx, JobSpec spec) => spec.Module?.ModuleCase switch
    {
        ModuleSpec.ModuleOneofCase.Mlp => DenseStack.Read(onnx, spec),
        ModuleSpec.ModuleOneofCase.Torch or ModuleSpec.ModuleOneofCase.Image => new ProgramScorer(OnnxProgram.Read(onnx, spec)),
        ModuleSpec.ModuleOneofCase.Text => TextScorer.Read(onnx, spec),
        _ => throw new FormatException("The job has no network that this release knows. Update the package, or train the model again."),
    };
}
