using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist cancel, mldist jobs cancel</summary>
internal sealed class CancelCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<string> _reason = new("--reason") { Description = "For those who ask later.", DefaultValueFactory = _ => "Cancelled with \"mldist cancel\"." };
    private readonly Option<bool> _json = AsJson();

    public CancelCommand(ClusterOptions? cluster = null) : base("cancel", "Cancel a job. Returns when its ranks are stopped.", cluster)
    {
        Add(_job);
        Add(_reason);
        Add(_json);
        SetAction(CancelAsync);
    }

    private async Task<int> CancelAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var job = await Cluster.CallAsync(parsed, async clients =>
        {
            // Whether the coordinator is there is found out sooner than what takes as long as its ranks do.
            var id = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
            var job = await clients.Jobs.GetJobAsync(new GetJobRequest { JobId = id }, cancellationToken: cancellation);
            return await clients.Stopping.CancelJobAsync(new CancelJobRequest { JobId = job.Id, Reason = parsed.GetRequiredValue(_reason) }, cancellationToken: cancellation);
        }, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(JobView.Of(job));
        else
            Console.WriteLine(VisibleText.Of($"Job {job.Id} is {Words.Of(job.State)}: {job.Reason}"));
        return ExitCode.Success;
    }
}
