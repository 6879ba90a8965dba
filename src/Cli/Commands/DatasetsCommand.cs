using System.CommandLine;
using System.Globalization;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist datasets</summary>
internal sealed class DatasetsCommand : ClusterCommand
{
    private readonly Option<int> _limit = Limit(50);
    private readonly Option<bool> _json = AsJson();

    public DatasetsCommand() : base("datasets", "List the data that was sent for training, by the tenant of this key.")
    {
        Add(_limit);
        Add(_json);
        SetAction(ListAsync);
    }

    private async Task<int> ListAsync(ParseResult parsed, CancellationToken cancellation)
    {
        var request = new ListDatasetsRequest { Limit = LimitOf(parsed, _limit) };
        var reply = await Cluster.CallAsync(parsed, async clients => await clients.Datasets.ListDatasetsAsync(request, cancellationToken: cancellation), cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(reply.Datasets.Select(DatasetView.Of));
        else if (reply.Datasets.Count == 0)
            Console.WriteLine("No datasets yet: an app's Fit sends them.");
        else
            Table(reply.Datasets, TimeProvider.System.GetUtcNow()).Write();
        return ExitCode.Success;
    }

    private static ListTable Table(IEnumerable<DatasetSnapshot> datasets, DateTimeOffset now)
    {
        var table = new ListTable("Dataset", "Rows", "Size", "Age");
        foreach (var dataset in datasets)
            table.Add(Terminal.Id(dataset.Id), dataset.RowCount.ToString("N0", CultureInfo.InvariantCulture), Words.Bytes(dataset.SizeBytes), Words.Time(dataset.Sent) is { } sent ? Words.Duration(now - sent) : "");
        return table;
    }
}
