using MLDistributed.Training.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Data;

/// <summary>The second labels of rows that are mixtures of two, and what these labels weigh.</summary>
internal sealed unsafe class MixedLabels : IDisposable
{
    public MixedLabels(int maxRows, ScalarType type)
    {
        Labels = empty([maxRows], type).DetachFromDisposeScope();
        Weights = empty([maxRows], ScalarType.Float32).DetachFromDisposeScope();
        Classes = (long*)TorchMemory.Data(Labels);
        Values = (float*)TorchMemory.Data(Labels);
        WeightMemory = (float*)TorchMemory.Data(Weights);
    }

    public Tensor Labels { get; }

    public Tensor Weights { get; }

    /// <summary>The labels' memory, where they are classes.</summary>
    public long* Classes { get; }

    /// <summary>The labels' memory, where they are numbers.</summary>
    public float* Values { get; }

    public float* WeightMemory { get; }

    public void Dispose()
    {
        Labels.Dispose();
        Weights.Dispose();
    }
}
