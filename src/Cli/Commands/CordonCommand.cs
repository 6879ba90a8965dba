using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>A command that changes whether jobs are placed on a worker, and shows the worker.</summary>
internal abstract class CordonsCommand : ClusterCommand
{
    private readonly Argument<string> _id = new("id") { Description = "The worker's id, from \"mldist workers\", or its first digits." };
    private readonly Option<bool> _json = AsJson();

    protected CordonsCommand(string name, string description, ClusterOptions cluster) : base(name, description, cluster)
    {
        Add(_id);
        Add(_json);
        SetAction(RunAsync);
    }

    protected abstract Task<WorkerSnapshot> ChangeAsync(CoordinatorClients clients, string id, ParseResult parsed, CancellationToken cancellation);

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var worker = await Cluster.CallAsync(parsed, async clients =>
        {
            var known = await clients.Jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: cancellation);
            var id = Ids.Complete("Worker", parsed.GetRequiredValue(_id), known.Workers.Select(w => w.Id).Where(i => i.Length > 0), "that \"mldist workers\" shows to an administrator");
            return await ChangeAsync(clients, id, parsed, cancellation).ConfigureAwait(false);
        }, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(WorkerView.Of(worker));
        else
            Console.WriteLine(VisibleText.Of(worker.Cordon is { } cordon ? Words.Of(cordon, worker.Host) : $"\"{worker.Host}\" gets jobs again."));
        return ExitCode.Success;
    }
}

/// <summary>mldist workers cordon</summary>
internal sealed class CordonCommand : CordonsCommand
{
    private readonly Option<string> _reason = new("--reason") { Description = "For those who ask why jobs wait.", DefaultValueFactory = _ => "by an operator", HelpName = "r" };

    public CordonCommand(ClusterOptions cluster) : base("cordon", "Place no more jobs on a worker; what runs there goes on.", cluster) => Add(_reason);

    protected override async Task<WorkerSnapshot> ChangeAsync(CoordinatorClients clients, string id, ParseResult parsed, CancellationToken cancellation) =>
        await clients.Administration.CordonWorkerAsync(new CordonWorkerRequest { WorkerId = id, Reason = parsed.GetRequiredValue(_reason) }, cancellationToken: cancellation);
}

/// <summary>mldist workers uncordon</summary>
internal sealed class UncordonCommand(ClusterOptions cluster) : CordonsCommand("uncordon", "Place jobs on a worker again, whether failures or an operator kept them away.", cluster)
{
    protected override async Task<WorkerSnapshot> ChangeAsync(CoordinatorClients clients, string id, ParseResult parsed, CancellationToken cancellation) =>
        await clients.Administration.UncordonWorkerAsync(new UncordonWorkerRequest { WorkerId = id }, cancellationToken: cancellation);
}
