using System.CommandLine;
using MLDistributed.Cli.Watching;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist watch</summary>
internal sealed class WatchCommand : Command
{
    private readonly ClusterOptions _cluster = new();
    private readonly Argument<string> _job = new("job") { Description = "The job's id." };

    public WatchCommand() : base("watch", "Show a job's progress until it ends. Exits with 1 when it does not succeed.")
    {
        Add(_job);
        _cluster.AddTo(this);
        SetAction(WatchAsync);
    }

    private async Task<int> WatchAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var job = parsed.GetRequiredValue(_job);
        var state = await _cluster.CallAsync(parsed, jobs => WatchView.ShowAsync(JobWatch.WatchAsync(jobs, job, TimeProvider.System, cancellation))).ConfigureAwait(false);
        return state == JobState.Succeeded ? ExitCode.Success : ExitCode.Failure;
    }
}
