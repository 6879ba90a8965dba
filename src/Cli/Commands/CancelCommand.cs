using System.CommandLine;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist cancel</summary>
internal sealed class CancelCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Argument<string> _job = new("job") { Description = "The job's id, or its first digits." };
    private readonly Option<string> _reason = new("--reason") { Description = "For those who ask later.", DefaultValueFactory = _ => "Cancelled with \"mldist cancel\"." };

    public CancelCommand() : base("cancel", "Cancel a job. Returns when its ranks are stopped.")
    {
        Add(_job);
        Add(_reason);
        _cluster.AddTo(this);
        SetAction(CancelAsync);
    }

    private async Task<int> CancelAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var job = await _cluster.CallAsync(parsed, async jobs => await jobs.CancelJobAsync(
            new CancelJobRequest { JobId = await JobIds.CompleteAsync(jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false), Reason = parsed.GetRequiredValue(_reason) },
            cancellationToken: cancellation)).ConfigureAwait(false);
        Console.WriteLine($"Job {job.Id} is {Words.Of(job.State)}: {job.Reason}");
        return ExitCode.Success;
    }
}
