using System.CommandLine;
using Grpc.Core;
using Grpc.Core.Interceptors;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>A command that asks a coordinator.</summary>
internal abstract class ClusterCommand : Command
{
    /// <param name="name">As it is typed.</param>
    /// <param name="description">For its help.</param>
    /// <param name="cluster">The options of the command above, which hold here too; null: it has its own.</param>
    protected ClusterCommand(string name, string description, ClusterOptions? cluster = null) : base(name, description)
    {
        Cluster = cluster ?? new ClusterOptions();
        if (cluster is null)
            Cluster.AddTo(this);
    }

    protected ClusterOptions Cluster { get; }

    protected static Argument<string> Job() => new("job") { Description = "The job's id, or its first digits: as many as make it one." };

    internal static Option<bool> AsJson() => new("--json") { Description = "Print one JSON document, for programs." };

    internal static Option<int> Limit(int ifNotGiven) => new("--limit") { Description = "How many, the newest first; at most 1000.", DefaultValueFactory = _ => ifNotGiven, HelpName = "n" };

    internal static int LimitOf(ParseResult parsed, Option<int> limit) => parsed.GetValue(limit) is >= 1 and <= 1000 and var value
        ? value
        : throw new CliException($"--limit is {parsed.GetValue(limit)}, expected 1 to 1000.", ExitCode.Usage);
}

/// <summary>A coordinator's services for clients. A call with one answer ends without it when its time is over.</summary>
internal sealed class CoordinatorClients(ClusterConnection connection, TimeSpan timeout)
{
    // Ranks that do not hear are killed after 10 s.
    private static readonly TimeSpan s_stopping = TimeSpan.FromSeconds(20);

    /// <summary>How long it may leave a question without an answer.</summary>
    public TimeSpan Timeout => timeout;

    public Jobs.JobsClient Jobs { get; } = new(Within(connection, timeout));

    /// <summary>For calls that return when ranks are stopped.</summary>
    public Jobs.JobsClient Stopping { get; } = new(Within(connection, timeout + s_stopping));

    public Datasets.DatasetsClient Datasets { get; } = new(Within(connection, timeout));

    public Administration.AdministrationClient Administration { get; } = new(Within(connection, timeout));

    public Blobs.BlobsClient Blobs { get; } = new(connection.Invoker);

    private static CallInvoker Within(ClusterConnection connection, TimeSpan limit) => connection.Invoker.Intercept(new PatientCalls(limit, TimeProvider.System));
}
