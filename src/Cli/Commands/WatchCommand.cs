using System.CommandLine;
using MLDistributed.Cli.Watching;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist watch, mldist jobs watch</summary>
internal sealed class WatchCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<bool> _json = new("--json") { Description = "Print each event as one line of JSON, for programs." };

    public WatchCommand(ClusterOptions? cluster = null)
        : base("watch", "Show a job's progress until it ends. Exits with 1 when it does not succeed; Ctrl-C stops watching, not the job.", cluster)
    {
        Add(_job);
        Add(_json);
        SetAction(WatchAsync);
    }

    private async Task<int> WatchAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var state = await Cluster.CallAsync(parsed, async clients =>
        {
            var job = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
            var events = JobWatch.WatchAsync(clients, job, TimeProvider.System, cancellation);
            return await (parsed.GetValue(_json) ? EventLines.WriteJsonAsync(events) : WatchView.ShowAsync(events)).ConfigureAwait(false);
        }, cancellation).ConfigureAwait(false);
        return state == JobState.Succeeded ? ExitCode.Success : ExitCode.Failure;
    }
}
