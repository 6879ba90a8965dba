namespace MLDistributed.Protocol;

/// <summary>What a job's specification names by its content.</summary>
public sealed partial class JobSpec
{
    /// <summary>The ids of the files that a job reads besides its data: what keeps and sends files asks here.</summary>
    public IEnumerable<string> FileIds => new[] { StartFrom?.ModelId, Module?.Torch?.PackageId, StartingWeights?.FileId }.OfType<string>();
}
