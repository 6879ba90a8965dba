using MLDistributed.Collectives;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Optimization;

/// <summary>What a job's gradients are sent as.</summary>
internal static class GradientWire
{
    public static WireType Of(JobSpec spec) => spec.GradientCompression == Compression.BFloat16 ? WireType.BFloat16 : WireType.Float32;
}
