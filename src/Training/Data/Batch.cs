using MLDistributed.Collectives;
using static TorchSharp.torch;

namespace MLDistributed.Training.Data;

/// <summary>A part of a global batch. The tensors are views of reused memory: valid until the next batch is loaded.</summary>
/// <param name="Features">rows x features, standardised.</param>
/// <param name="Labels">Class indices (int64) or values (float32), one a row.</param>
/// <param name="Weights">Loss weights, one a row; null when all are 1.</param>
/// <param name="WeightSum">The sum of these weights.</param>
/// <param name="GlobalRows">Rows of the global batch.</param>
/// <param name="Rows">Which of them these are.</param>
/// <param name="OtherLabels">Of rows that are mixtures of two: the labels of the others; null: there are none.</param>
/// <param name="OtherWeights">The loss weights of these labels; those of the first are <see cref="Weights"/>.</param>
internal sealed record Batch(Tensor Features, Tensor Labels, Tensor? Weights, double WeightSum, int GlobalRows, Shard Rows, Tensor? OtherLabels = null, Tensor? OtherWeights = null)
{
    /// <summary>The rows' features where these are sparse; then <see cref="Features"/> is rows x 0.</summary>
    public SparseRows? Sparse { get; init; }
}
