namespace MLDistributed.Protocol;

/// <summary>What a job's specification names by its content.</summary>
public sealed partial class JobSpec
{
    /// <summary>The datasets that a job reads.</summary>
    public IEnumerable<ContentHash> DatasetIds => new[] { Data?.Dataset, Data?.ValidationDataset }.OfType<ContentHash>();

    /// <summary>What only an app reads that makes the job's transformer; kept as long as its model.</summary>
    public ContentHash? FrameId => ModelFrame?.Hash;

    /// <summary>The files that a job reads besides its data: what keeps and sends files asks here.</summary>
    public IEnumerable<ContentHash> FileIds => new[] { StartFrom?.Hash, Module?.Torch?.Package, StartingWeights?.Hash }.OfType<ContentHash>();
}
