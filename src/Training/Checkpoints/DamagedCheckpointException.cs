namespace MLDistributed.Training.Checkpoints;

/// <summary>The checkpoint to go on from is damaged, or not this job's: training can go on from another, or from the beginning.</summary>
internal sealed class DamagedCheckpointException(string message, Exception? inner = null) : FormatException(message, inner);
