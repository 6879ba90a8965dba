using System.CommandLine;
using MLDistributed.Cli.Output;
using MLDistributed.Cli.Watching;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs logs</summary>
internal sealed class JobLogsCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<bool> _follow = new("--follow", "-f") { Description = "Go on until the job ends; Ctrl-C stops following, not the job." };
    private readonly Option<bool> _json = new("--json") { Description = "Print one JSON document, for programs; with --follow one a line." };

    public JobLogsCommand(ClusterOptions cluster) : base("logs", "Print what happened to a job: its states, epochs and log lines.", cluster)
    {
        Add(_job);
        Add(_follow);
        Add(_json);
        SetAction(LogsAsync);
    }

    private Task<int> LogsAsync(ParseResult parsed, CancellationToken cancellation) => Cluster.CallAsync(parsed, async clients =>
    {
        var job = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
        var events = (parsed.GetValue(_follow)
            ? JobWatch.WatchAsync(clients, job, TimeProvider.System, cancellation)
            : JobWatch.PastAsync(clients, job, TimeProvider.System, cancellation)).Where(e => e.Progress is null);
        if (!parsed.GetValue(_json))
            await WatchView.WriteLinesAsync(events).ConfigureAwait(false);
        else if (parsed.GetValue(_follow))
            await EventLines.WriteJsonAsync(events).ConfigureAwait(false);
        else
            Json.Write(await events.Select(EventView.Of).ToListAsync(cancellation).ConfigureAwait(false));
        return ExitCode.Success;
    }, cancellation);
}
