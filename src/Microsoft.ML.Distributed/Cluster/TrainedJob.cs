using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>What a cluster gives back for a job.</summary>
/// <param name="JobId">The job's id on the cluster.</param>
/// <param name="Onnx">The trained model as ONNX bytes.</param>
/// <param name="Result">Losses, epochs and timings.</param>
internal sealed record TrainedJob(string JobId, byte[] Onnx, JobResult Result);
