using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>Lets people name things by the first digits of their ids, as lists show them: as many as make it one.</summary>
internal static class Ids
{
    private const int JobLength = 32;
    private const int Shown = 5;

    /// <summary>A job's whole id. Whether there is a job of a whole id, the coordinator says.</summary>
    /// <exception cref="CliException">The digits name no job, or several.</exception>
    public static async Task<string> JobAsync(Jobs.JobsClient jobs, string start, CancellationToken cancellation)
    {
        start = Normal("Job", start);
        if (start.Length >= JobLength)
            return start;
        var reply = await jobs.ListJobsAsync(new ListJobsRequest { IdPrefix = start, Limit = Shown + 1 }, cancellationToken: cancellation);
        return Complete("Job", start, [.. reply.Jobs.Select(j => j.Id)], "that \"mldist jobs\" shows");
    }

    /// <summary>The one of the ids that begins so.</summary>
    /// <param name="kind">What it is the id of, as "Job".</param>
    /// <param name="start">The first digits, at least one.</param>
    /// <param name="ids">All that there are, or more than are shown.</param>
    /// <param name="which">Which there are, as 'that "mldist jobs" shows'.</param>
    /// <exception cref="CliException">None of them does, or several do.</exception>
    public static string Complete(string kind, string start, IEnumerable<string> ids, string which)
    {
        start = Normal(kind, start);
        var matching = ids.Where(id => id.StartsWith(start, StringComparison.OrdinalIgnoreCase)).ToList();
        return matching.Count switch
        {
            1 => matching[0],
            0 => throw new CliException($"{kind} \"{start}\" is unknown, expected an id, or its first digits, {which}.", ExitCode.NotFound),
            _ when matching.Find(id => id.Equals(start, StringComparison.OrdinalIgnoreCase)) is { } whole => whole,
            _ => throw new CliException($"{kind} \"{start}\" is the beginning of several, expected more digits of one: {string.Join(", ", matching.Take(Shown))}{(matching.Count > Shown ? ", ..." : "")}.", ExitCode.Usage),
        };
    }

    // An empty variable in a script must not become whatever is the only one.
    private static string Normal(string kind, string start) => start.Trim() is { Length: > 0 } id
        ? id.ToLowerInvariant()
        : throw new CliException($"{kind} is \"{start}\", expected an id or its first digits.", ExitCode.Usage);
}
