using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs resume</summary>
internal sealed class JobResumeCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<bool> _json = AsJson();

    public JobResumeCommand(ClusterOptions cluster)
        : base("resume", "Start a job that goes on from the last checkpoint of one that failed or was cancelled.", cluster)
    {
        Add(_job);
        Add(_json);
        SetAction(ResumeAsync);
    }

    private async Task<int> ResumeAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var job = await Cluster.CallAsync(parsed, async clients =>
        {
            var ended = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
            var resumed = await clients.Jobs.ResumeJobAsync(new ResumeJobRequest { JobId = ended }, cancellationToken: cancellation);
            return await clients.Jobs.GetJobAsync(new GetJobRequest { JobId = resumed.JobId }, cancellationToken: cancellation);
        }, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(JobView.Of(job));
        else
            Console.WriteLine(VisibleText.Of($"Job {job.Id} is {Words.Of(job.State)}: {job.Reason}"));
        return ExitCode.Success;
    }
}
