using System.CommandLine;
using MLDistributed.Coordinator;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist workers, mldist workers revoke</summary>
internal sealed class WorkersCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Option<string> _data = new("--data") { Description = "The coordinator's data folder, on this machine.", Required = true, HelpName = "D" };
    private readonly Argument<string> _id = new("id") { Description = "The worker's id, from \"mldist workers\"." };

    public WorkersCommand() : base("workers", "List workers and their devices.")
    {
        _cluster.AddTo(this);
        SetAction(ListAsync);
        var revoke = new Command("revoke", "Take a worker's credential away, on the coordinator's machine: it leaves within seconds.") { _data, _id };
        revoke.SetAction(Revoke);
        Add(revoke);
    }

    private int Revoke(ParseResult parsed)
    {
        var id = parsed.GetRequiredValue(_id);
        if (!CoordinatorAdministration.RevokeWorker(parsed.GetRequiredValue(_data), id))
            throw new CliException($"Worker \"{id}\" is unknown or revoked already, expected the id of one that joined with a token, as \"mldist workers\" shows it.");
        Console.WriteLine($"Worker \"{id}\" is revoked.");
        return ExitCode.Success;
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var cluster = await _cluster.CallAsync(parsed, async jobs => await jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: cancellation)).ConfigureAwait(false);
        var table = new ListTable("Worker", "Host", "Status", "Device", "Load", "Memory", "Name");
        foreach (var worker in cluster.Workers)
        {
            if (worker.Devices.Count == 0)
                table.Add(Terminal.Id(worker.Id), worker.Host, worker.Status, "", "", "", "offers no device");
            foreach (var device in worker.Devices)
            {
                var memory = device.MemoryBytes > 0 ? $"{Gibibytes(device.MemoryUsedBytes)} of {Gibibytes(device.MemoryBytes)} GiB" : "";
                var name = device.Fault.Length > 0 ? $"{device.Name}: cannot be used: {device.Fault}" : device.Name;
                table.Add(Terminal.Id(worker.Id), worker.Host, worker.Status, $"{Words.Of(device.Kind)}:{device.Index}", $"{device.Utilization * 100:F0} %", memory, name);
            }
        }

        table.Write();
        Console.WriteLine($"{Words.Count(cluster.Workers.Count, "worker")}, {Words.Count(cluster.RunningJobs, "job")} running, {cluster.QueuedJobs} queued; coordinator {cluster.Version}.");
        return ExitCode.Success;
    }

    private static string Gibibytes(long bytes) => $"{bytes / (double)(1L << 30):F1}";
}
