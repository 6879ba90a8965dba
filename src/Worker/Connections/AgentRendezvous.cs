using MLDistributed.Protocol;

namespace MLDistributed.Worker.Connections;

/// <summary>The way to the other workers' agents, before ranks run: by the coordinator.</summary>
internal sealed class AgentRendezvous(string attemptId, Outbox outbox) : WorkersRendezvous(attemptId, firstRound: 0)
{
    protected override void Send(Gather gather) => outbox.Post(new WorkerMessage { Gather = gather });

    protected override void Send(Abort abort) => outbox.Post(new WorkerMessage { Abort = abort });

    protected override void Send(Unheard unheard) => outbox.Post(new WorkerMessage { Unheard = unheard });
}
