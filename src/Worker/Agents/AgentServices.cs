using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Worker.Attempts;
using MLDistributed.Worker.Connections;
using MLDistributed.Worker.Networks;
using MLDistributed.Worker.Ranks;
using MLDistributed.Worker.Transfers;

namespace MLDistributed.Worker.Agents;

/// <summary>What an attempt uses of its agent.</summary>
internal sealed record AgentServices(
    string Host,
    IReadOnlyList<Device> Devices,
    RankPool Pool,
    Mailbox Mailbox,
    Outbox Outbox,
    BlobTransfer Blobs,
    DatasetCache Datasets,
    CommitStore Commits,
    WorkerNetwork? Network,
    Action<RankStart, IRendezvous, CancellationToken> CheckPeers,
    TimeProvider Time,
    AgentLog Log);
