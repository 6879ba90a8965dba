using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>Scores with the graph that a module of the user's own was found to be.</summary>
internal sealed class ProgramScorer(OnnxProgram program) : IScorer
{
    public int InputSize => program.InputSize;

    public int OutputSize => program.OutputSize;

    public RowScorer CreateRunner() => new(program.CreateRunner());

    public void Dispose()
    {
        // Managed memory only.
    }
}
