using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Coordinator;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist workers, mldist workers revoke; <see cref="CordonCommand"/> has those that keep jobs away</summary>
internal sealed class WorkersCommand : ClusterCommand
{
    private readonly Option<bool> _json = AsJson();
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D" };
    private readonly Argument<string> _id = new("id") { Description = "The worker's id, from \"mldist workers\", or its first digits." };

    public WorkersCommand() : base("workers", "List workers and their devices.")
    {
        Add(_json);
        SetAction(ListAsync);
        var revoke = new Command("revoke", "Take a worker's credential away, on the coordinator's machine: it leaves within seconds.") { _data, _id, _json };
        revoke.SetAction(Revoke);
        Add(revoke);
        Add(new CordonCommand(Cluster));
        Add(new UncordonCommand(Cluster));
    }

    private int Revoke(ParseResult parsed)
    {
        var data = parsed.GetRequiredValue(_data);
        var id = Ids.Complete("Worker", parsed.GetRequiredValue(_id), CoordinatorAdministration.ListWorkers(data), "of a worker that joined with a token and was not revoked");
        CoordinatorAdministration.RevokeWorker(data, id);
        if (parsed.GetValue(_json))
            Json.Write(new RevokedView(id));
        else
            Console.WriteLine($"Worker \"{id}\" is revoked.");
        return ExitCode.Success;
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var cluster = await Cluster.CallAsync(parsed, async clients => await clients.Jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: cancellation), cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
        {
            Json.Write(ClusterView.Of(cluster));
            return ExitCode.Success;
        }

        var table = new ListTable("Worker", "Host", "Status", "Device", "Load", "Memory", "Name");
        foreach (var worker in cluster.Workers)
        {
            if (worker.Devices.Count == 0)
                table.Add(Terminal.Id(worker.Id), worker.Host, worker.Status, "", "", "", "offers no device");
            foreach (var device in worker.Devices)
            {
                var memory = device.MemoryBytes > 0 ? $"{Words.Bytes(device.MemoryUsedBytes)} of {Words.Bytes(device.MemoryBytes)}" : "";
                var name = device.Fault.Length > 0 ? $"{device.Name}: cannot be used: {device.Fault}" : device.Name;
                table.Add(Terminal.Id(worker.Id), worker.Host, worker.Status, $"{Words.Of(device.Kind)}:{device.Index}", $"{device.Utilization * 100:F0} %", memory, name);
            }
        }

        table.Write();
        foreach (var worker in cluster.Workers.Where(w => w.Cordon is not null))
            Console.WriteLine(VisibleText.Of(Words.Of(worker.Cordon, worker.Host)));
        foreach (var worker in cluster.Workers.Where(w => w.Network is { Fault.Length: > 0 }))
            Console.WriteLine($"Ranks of \"{VisibleText.Of(worker.Host)}\" meet those of no other worker: {VisibleText.Of(worker.Network.Fault)}.");
        foreach (var worker in cluster.Workers.Where(w => w.Network is { Fault: "", NcclFault.Length: > 0 }))
            Console.WriteLine($"GPUs of \"{VisibleText.Of(worker.Host)}\" meet those of no other worker: {VisibleText.Of(worker.Network.NcclFault)}.");
        Console.WriteLine($"{Words.Count(cluster.Workers.Count, "worker")}, {Words.Count(cluster.RunningJobs, "job")} running, {cluster.QueuedJobs} queued; coordinator {VisibleText.Of(cluster.Version)}.");
        return ExitCode.Success;
    }
}
