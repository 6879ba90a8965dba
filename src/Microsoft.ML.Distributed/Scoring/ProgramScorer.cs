using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>Scores with the graph of a network that is no stack of dense layers.</summary>
internal sealed class ProgramScorer(OnnxProgram program) : IScorer
{
    public int InputSize => program.InputSize;

    public int OutputSize => program.OutputSize;

    /// <summary>Numbers of each output, which a runner writes one behind the other.</summary>
    public IReadOnlyList<int> OutputSizes => program.OutputSizes;

    public RowScorer CreateRunner() => new(program.CreateRunner());

    public void Dispose()
    {
        // Managed memory only.
    }
}
