using System.CommandLine;
using MLDistributed.Protocol;

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

        var table = new ListTable("Job", "State", "Done", "Loss", "Submitted", "Name", "Why");
        foreach (var job in reply.Jobs)
        {
            table.Add(
                Terminal.Id(job.Id),
                $"{Words.Of(job.State)}{(job.Attempt > 1 ? $", attempt {job.Attempt}" : "")}",
                job.Progress is { TotalSteps: > 0 } p ? $"{100 * p.Step / p.TotalSteps} %" : "",
                job.Progress is { } last ? $"{last.Loss:G4}" : "",
                job.Submitted is null ? "" : Words.Of(job.Submitted.ToDateTimeOffset(), TimeProvider.System.GetUtcNow()),
                job.Name,
                job.Reason);
        }

        table.Write();
        return ExitCode.Success;
    }
}
