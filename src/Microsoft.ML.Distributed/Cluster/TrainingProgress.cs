namespace Microsoft.ML.Distributed;

/// <summary>How far a job is.</summary>
public sealed record TrainingProgress;
