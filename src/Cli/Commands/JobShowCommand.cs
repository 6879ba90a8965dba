using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs show</summary>
internal sealed class JobShowCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<bool> _json = AsJson();

    public JobShowCommand(ClusterOptions cluster) : base("show", "Show all that is known of a job.", cluster)
    {
        Add(_job);
        Add(_json);
        SetAction(ShowAsync);
    }

    private async Task<int> ShowAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var job = await Cluster.CallAsync(parsed, async clients => await clients.Jobs.GetJobAsync(
            new GetJobRequest { JobId = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false) },
            cancellationToken: cancellation), cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(JobView.Of(job));
        else
            JobSheet.Write(job, Console.Out, TimeProvider.System.GetUtcNow(), Terminal.HasColors);
        return ExitCode.Success;
    }
}
