using System.CommandLine;
using Google.Protobuf.WellKnownTypes;
using MLDistributed.Protocol;
using Spectre.Console;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs</summary>
internal sealed class JobsCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Option<bool> _active = new("--active") { Description = "Only jobs that have not ended." };
    private readonly Option<int> _limit = new("--limit") { Description = "How many, the newest first.", DefaultValueFactory = _ => 50, HelpName = "n" };

    public JobsCommand() : base("jobs", "List jobs.")
    {
        Add(_active);
        Add(_limit);
        _cluster.AddTo(this);
        SetAction(ListAsync);
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var limit = parsed.GetValue(_limit);
        if (limit < 1)
            throw new CliException($"--limit is {limit}, expected at least 1.", ExitCode.Usage);
        var request = new ListJobsRequest { ActiveOnly = parsed.GetValue(_active), Limit = limit };
        var reply = await _cluster.CallAsync(parsed, async jobs => await jobs.ListJobsAsync(request, cancellationToken: cancellation)).ConfigureAwait(false);
        if (reply.Jobs.Count == 0)
        {
            Console.WriteLine(request.ActiveOnly ? "No job waits or runs." : "No jobs yet.");
            return ExitCode.Success;
        }

        var table = Tables.Create("Job", "Name", "State", "Attempt", "Progress", "Loss", "Submitted", "Reason");
        foreach (var job in reply.Jobs)
        {
            var progress = job.Progress is { TotalSteps: > 0 } p ? $"{100.0 * p.Step / p.TotalSteps:F0} %" : "";
            var loss = job.Progress is { } last ? $"{last.Loss:G4}" : "";
            table.AddRow(Tables.Cells(job.Id, job.Name, Words.Of(job.State), $"{job.Attempt}", progress, loss, Time(job.Submitted), job.Reason));
        }

        AnsiConsole.Write(table);
        return ExitCode.Success;
    }

    private static string Time(Timestamp? time) => time is null ? "" : $"{time.ToDateTimeOffset().ToLocalTime():yyyy-MM-dd HH:mm:ss}";
}
