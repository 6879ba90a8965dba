using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

internal sealed partial class ClusterLog(ILogger logger)
{
    [LoggerMessage(111, LogLevel.Information, "Job {JobId} \"{Name}\" submitted")]
    public partial void Submitted(OpaqueId jobId, string name);

    [LoggerMessage(112, LogLevel.Information, "Job {JobId} attempt {Attempt} placed on {Workers}")]
    public partial void Placed(OpaqueId jobId, int attempt, string workers);

    [LoggerMessage(113, LogLevel.Warning, "Job {JobId} attempt {Attempt} failed: {Reason}")]
    public partial void AttemptFailed(OpaqueId jobId, int attempt, string reason);

    [LoggerMessage(114, LogLevel.Information, "Job {JobId} {State}: {Reason}")]
    public partial void Ended(OpaqueId jobId, JobState state, string reason);

    [LoggerMessage(121, LogLevel.Information, "Worker \"{Host}\" connected, session {Epoch}, {Slots} slots")]
    public partial void Connected(string host, long epoch, int slots);

    [LoggerMessage(122, LogLevel.Information, "Worker \"{Host}\" disconnected, session {Epoch}")]
    public partial void Disconnected(string host, long epoch);

    [LoggerMessage(123, LogLevel.Warning, "Worker \"{Host}\" is lost: {Reason}")]
    public partial void Lost(string host, string reason);

    [LoggerMessage(124, LogLevel.Warning, "Worker \"{Host}\" is cordoned: {Reason}")]
    public partial void Cordoned(string host, string reason);

    [LoggerMessage(125, LogLevel.Information, "Worker \"{Host}\" gets jobs again: {Reason}")]
    public partial void Uncordoned(string host, string reason);

    [LoggerMessage(126, LogLevel.Warning, "Worker \"{Host}\" gets no job over several workers for {Minutes:0.#} min: {Reason}")]
    public partial void Doubted(string host, double minutes, string reason);

    [LoggerMessage(131, LogLevel.Information, "Took {Count} jobs over from the run before")]
    public partial void Restored(int count);

    [LoggerMessage(132, LogLevel.Error, "{Reason} It is set aside, and the others go on")]
    public partial void SetAside(string reason);
}
