using Microsoft.ML.Distributed;

namespace MLDistributed.Training.Models;

/// <summary>A tensor's place in a flat buffer.</summary>
/// <param name="Name">Its name in weight files, such as "layers.0.weight".</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Start">Its first element in the flat buffer.</param>
/// <param name="Decays">Whether weight decay applies: to matrices, not to biases and norms.</param>
internal sealed record FlatTensor(string Name, long[] Shape, long Start, bool Decays)
{
    /// <summary>Whether a step changes few of its rows, which are marked: those of the features that the step's rows have. At most the first tensor.</summary>
    public bool HasSparseRows { get; init; }

    /// <summary>The group that its module puts it into; null: none.</summary>
    public ParameterGroup? Group { get; init; }

    /// <summary>Times the learning rate.</summary>
    public double RateFactor => Group?.LearningRateFactor ?? 1;

    public long Length { get; } = Shape.Aggregate(1L, (a, b) => a * b);

    /// <summary>The weight decay of its group; else the optimizer's, where it applies.</summary>
    public double DecayOf(double weightDecay) => Group?.WeightDecay ?? (Decays ? weightDecay : 0);
}

/// <summary>Where a module's parameters lie in the flat buffers, and its buffers (running statistics) in theirs.</summary>
internal sealed record FlatLayout(IReadOnlyList<FlatTensor> Parameters, IReadOnlyList<FlatTensor> Buffers)
{
    public long ParameterLength => End(Parameters);

    public long BufferLength => End(Buffers);

    private static long End(IReadOnlyList<FlatTensor> tensors) => tensors is [.., var last] ? last.Start + last.Length : 0;
}
