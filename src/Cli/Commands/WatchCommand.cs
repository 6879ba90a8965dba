using System.CommandLine;
using MLDistributed.Cli.Watching;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist watch</summary>
internal sealed class WatchCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Argument<string> _job = new("job") { Description = "The job's id, or its first digits." };

    public WatchCommand() : base("watch", "Show a job's progress until it ends. Exits with 1 when it does not succeed; Ctrl-C stops watching, not the job.")
    {
        Add(_job);
        _cluster.AddTo(this);
        SetAction(WatchAsync);
    }

    private async Task<int> WatchAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var state = await _cluster.CallAsync(parsed, async jobs =>
        {
            var job = await JobIds.CompleteAsync(jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
            return await WatchView.ShowAsync(JobWatch.WatchAsync(jobs, job, TimeProvider.System, cancellation)).ConfigureAwait(false);
        }).ConfigureAwait(false);
        return state == JobState.Succeeded ? ExitCode.Success : ExitCode.Failure;
    }
}
