using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>Failures that the coordinator itself sees.</summary>
internal static class Failures
{
    public static JobFailure WorkerLost(WorkerEntry worker, string message) => Of(FailureKind.WorkerLost, worker, message);

    public static JobFailure Crashed(WorkerEntry worker, string message) => Of(FailureKind.Crashed, worker, message);

    private static JobFailure Of(FailureKind kind, WorkerEntry worker, string message) => new() { Kind = kind, Message = message, Rank = -1, Host = worker.Host };
}
