using MLDistributed.Protocol;

namespace MLDistributed.Training;

/// <summary>What a rank leaves.</summary>
/// <param name="Result">Rank 0's result, without artifacts; null on the others.</param>
/// <param name="Files">Rank 0's files by <see cref="ArtifactName"/>; empty on the others.</param>
public sealed record RankResult(JobResult? Result, IReadOnlyDictionary<string, string> Files);
