namespace MLDistributed.Protocol.Weights;

/// <summary>Numbers with a name and a shape.</summary>
/// <param name="Name">As "encoder.layer.0.output.dense.weight".</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Values">As many as the shape says, the last dimension fastest.</param>
public sealed record NamedTensor(string Name, long[] Shape, float[] Values);
