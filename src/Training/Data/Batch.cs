using MLDistributed.Collectives;
using static TorchSharp.torch;

namespace MLDistributed.Training.Data;

/// <summary>One rank's rows of one step. The tensors are views of reused memory: valid until the next batch is loaded.</summary>
/// <param name="Features">rows x features, standardised.</param>
/// <param name="Labels">Class indices (int64) or values (float32), one a row.</param>
/// <param name="Weights">Loss weights, one a row; null when all are 1.</param>
/// <param name="WeightSum">The sum of this rank's weights.</param>
/// <param name="GlobalRows">Rows of all ranks together.</param>
/// <param name="Rows">This rank's part of the global batch.</param>
internal sealed record Batch(Tensor Features, Tensor Labels, Tensor? Weights, double WeightSum, int GlobalRows, Shard Rows);
