using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>Lets people name a job by the first digits of its id, as "mldist jobs" shows them.</summary>
internal static class JobIds
{
    private const int WholeLength = 32;
    private const int FewestDigits = 4;
    private const int JobsSearched = 1000;

    /// <summary>The whole id; what names no job is left as it is, for the coordinator to refuse.</summary>
    /// <exception cref="CliException">It names several jobs.</exception>
    public static async Task<string> CompleteAsync(Jobs.JobsClient jobs, string start, CancellationToken cancellation)
    {
        if (start.Length is < FewestDigits or >= WholeLength)
            return start;
        var reply = await jobs.ListJobsAsync(new ListJobsRequest { Limit = JobsSearched }, cancellationToken: cancellation);
        return Complete(start, [.. reply.Jobs.Select(j => j.Id)]);
    }

    /// <summary>The one of the ids that begins so.</summary>
    internal static string Complete(string start, IReadOnlyList<string> ids)
    {
        var matching = ids.Where(id => id.StartsWith(start, StringComparison.OrdinalIgnoreCase)).ToList();
        return matching.Count switch
        {
            0 => start,
            1 => matching[0],
            _ => throw new CliException($"Job \"{start}\" is one of {matching.Count}, expected more digits of its id: {string.Join(", ", matching.Take(5))}{(matching.Count > 5 ? ", ..." : "")}.", ExitCode.Usage),
        };
    }
}
