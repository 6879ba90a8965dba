using Microsoft.Extensions.Logging;

namespace MLDistributed.Worker.Agents;

/// <summary>The agent's log.</summary>
internal sealed partial class AgentLog(ILogger logger)
{
    private readonly ILogger _logger = logger;

    [LoggerMessage(1, LogLevel.Information, "Offers {Count} slots: {Devices}.")]
    public partial void Offers(int count, string devices);

    [LoggerMessage(2, LogLevel.Information, "Connected to {Coordinator} as worker {WorkerId}, session {Epoch}.")]
    public partial void Connected(Uri coordinator, string workerId, long epoch);

    [LoggerMessage(3, LogLevel.Warning, "No connection to {Coordinator} for {Seconds} s ({Reason}); tries go on, and so do running attempts.")]
    public partial void Disconnected(Uri coordinator, long seconds, string reason);

    [LoggerMessage(4, LogLevel.Debug, "Rank process of slot {Slot} (process {ProcessId}) is ready, loaded in {Seconds:F2} s.")]
    public partial void RankReady(int slot, int processId, double seconds);

    [LoggerMessage(5, LogLevel.Warning, "Rank process of slot {Slot} (process {ProcessId}) {Ending}; another is started. {LastWord}")]
    public partial void RankExited(int slot, int processId, string ending, string lastWord);

    [LoggerMessage(6, LogLevel.Debug, "Rank process of slot {Slot}: {Line}")]
    public partial void RankError(int slot, string line);

    [LoggerMessage(7, LogLevel.Information, "Attempt {AttemptId} starts on slots {Slots}.")]
    public partial void AttemptStarts(string attemptId, string slots);

    [LoggerMessage(8, LogLevel.Information, "Attempt {AttemptId} ended: {Outcome}.")]
    public partial void AttemptEnded(string attemptId, string outcome);

    [LoggerMessage(9, LogLevel.Warning, "{What} is retried in {Seconds:F1} s: {Reason}")]
    public partial void TransferRetried(string what, double seconds, string reason);

    [LoggerMessage(10, LogLevel.Warning, "CUDA devices are there, but this build of libtorch cannot use them; the CPU is offered. Build with -p:TorchBackend=cuda to use them.")]
    public partial void CudaUnusable();

    /// <summary>Tells of the network, if there is one.</summary>
    public void Meets(Protocol.Network? network)
    {
        if (network is { Fault: "" })
            MeetsOn(network.Interface, network.Address, network.Mpi);
        else if (network is not null)
            MeetsNobody(network.Fault);
    }

    [LoggerMessage(12, LogLevel.Information, "Ranks meet those of other workers on {Interface} ({Address}) with {Mpi}.")]
    private partial void MeetsOn(string @interface, string address, string mpi);

    [LoggerMessage(13, LogLevel.Warning, "Ranks cannot meet those of other workers, and no job over several is placed here: {Reason}")]
    private partial void MeetsNobody(string reason);

    [LoggerMessage(14, LogLevel.Information, "Attempt {AttemptId}: gives its data to the other workers at {Address}.")]
    public partial void ServesData(string attemptId, string address);

    [LoggerMessage(15, LogLevel.Warning, "Attempt {AttemptId}: cannot give its data to the other workers ({Reason}); they fetch all from the coordinator.")]
    public partial void ServesNoData(string attemptId, string reason);

    [LoggerMessage(16, LogLevel.Information, "Worker \"{Host}\" has not said within {Seconds} s where it gives its data; the coordinator gives its share.")]
    public partial void PeerUnknown(string host, double seconds);

    [LoggerMessage(17, LogLevel.Warning, "Worker \"{Host}\" does not give {Bytes} bytes of dataset {DatasetId} ({Reason}); the coordinator does.")]
    public partial void PeerLeft(string datasetId, string host, long bytes, string reason);

    [LoggerMessage(18, LogLevel.Information, "Dataset {DatasetId} is here: {CoordinatorBytes} bytes from the coordinator, {PeerBytes} from other workers, {EarlierBytes} from before.")]
    public partial void DataCame(string datasetId, long coordinatorBytes, long peerBytes, long earlierBytes);

    [LoggerMessage(11, LogLevel.Warning, "A checkpoint of attempt {AttemptId} was not stored: {Reason}")]
    public partial void CheckpointLost(string attemptId, string reason);
}
