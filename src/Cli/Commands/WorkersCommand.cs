using System.CommandLine;
using MLDistributed.Protocol;
using Spectre.Console;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist workers</summary>
internal sealed class WorkersCommand : Command
{
    private readonly ClusterOptions _cluster = new();

    public WorkersCommand() : base("workers", "List workers and their devices.")
    {
        _cluster.AddTo(this);
        SetAction(ListAsync);
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var cluster = await _cluster.CallAsync(parsed, async jobs => await jobs.GetClusterAsync(new GetClusterRequest(), cancellationToken: cancellation)).ConfigureAwait(false);
        var table = Tables.Create("Worker", "Host", "Status", "Slot", "Device", "Name", "Memory", "Load");
        foreach (var worker in cluster.Workers)
        {
            foreach (var device in worker.Devices)
            {
                var memory = device.MemoryBytes > 0 ? $"{Gibibytes(device.MemoryUsedBytes)} of {Gibibytes(device.MemoryBytes)} GiB" : "";
                table.AddRow(Tables.Cells(worker.Id, worker.Host, worker.Status, $"{device.Slot}", $"{Words.Of(device.Kind)}:{device.Index}", device.Name, memory, $"{device.Utilization * 100:F0} %"));
            }
        }

        AnsiConsole.Write(table);
        AnsiConsole.WriteLine($"{cluster.Workers.Count} workers, {cluster.RunningJobs} jobs running, {cluster.QueuedJobs} queued; coordinator {cluster.Version}.");
        return ExitCode.Success;
    }

    private static string Gibibytes(long bytes) => $"{bytes / (double)(1L << 30):F1}";
}
