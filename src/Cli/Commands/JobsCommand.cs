using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs, and what there is to do with one of them.</summary>
internal sealed class JobsCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Option<bool> _active = new("--active") { Description = "Only jobs that have not ended." };
    private readonly Option<int> _limit = ClusterCommand.Limit(50);
    private readonly Option<bool> _json = ClusterCommand.AsJson();

    public JobsCommand() : base("jobs", "List jobs, show one, fetch what it made.")
    {
        Add(_active);
        Add(_limit);
        Add(_json);
        _cluster.AddTo(this, isRecursive: true);
        SetAction(ListAsync);
        Add(new JobShowCommand(_cluster));
        Add(new JobLogsCommand(_cluster));
        Add(new JobDownloadCommand(_cluster));
        Add(new JobResumeCommand(_cluster));
        Add(new WatchCommand(_cluster));
        Add(new CancelCommand(_cluster));
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var request = new ListJobsRequest { ActiveOnly = parsed.GetValue(_active), Limit = ClusterCommand.LimitOf(parsed, _limit) };
        var jobs = await _cluster.CallAsync(parsed, clients => PagesAsync(clients.Jobs, request, cancellation), cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(jobs.Select(JobView.Of));
        else if (jobs.Count == 0)
            Console.WriteLine(request.ActiveOnly ? "No job waits or runs." : "No jobs yet.");
        else
            Table(jobs).Write();
        return ExitCode.Success;
    }

    // A page's size is limited in bytes too.
    private static async Task<IReadOnlyList<JobSnapshot>> PagesAsync(Jobs.JobsClient client, ListJobsRequest request, CancellationToken cancellation)
    {
        var (jobs, limit) = (new List<JobSnapshot>(), request.Limit);
        ListJobsReply page;
        do
        {
            request.Limit = limit - jobs.Count;
            page = await client.ListJobsAsync(request, cancellationToken: cancellation);
            jobs.AddRange(page.Jobs);
            request.PageToken = page.NextPageToken;
        }
        while (jobs.Count < limit && page.Jobs.Count > 0 && request.PageToken.Length > 0);
        return jobs;
    }

    private static ListTable Table(IEnumerable<JobSnapshot> jobs)
    {
        var table = new ListTable("Job", "State", "Done", "Loss", "Submitted", "Name", "Why");
        foreach (var job in jobs)
        {
            table.Add(
                Terminal.Id(job.Id),
                $"{Words.Of(job.State)}{(job.Attempt > 1 ? $", attempt {job.Attempt}" : "")}",
                job.Progress is { TotalSteps: > 0 } p ? $"{Math.Floor(100.0 * Math.Clamp(p.Step, 0, p.TotalSteps) / p.TotalSteps):0} %" : "",
                job.Progress is { } last ? $"{last.Loss:G4}" : "",
                Words.Time(job.Submitted) is { } submitted ? Words.Of(submitted, TimeProvider.System.GetUtcNow()) : "",
                job.Name,
                job.Reason);
        }

        return table;
    }
}
