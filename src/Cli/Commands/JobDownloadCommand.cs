using System.CommandLine;
using MLDistributed.Cli.Downloads;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Commands;

/// <summary>mldist jobs download</summary>
internal sealed class JobDownloadCommand : ClusterCommand
{
    private readonly Argument<string> _job = Job();
    private readonly Option<string> _output = new("--output", "-o") { Description = "The folder to write to; made when missing.", DefaultValueFactory = _ => ".", HelpName = "folder" };
    private readonly Option<bool> _force = new("--force") { Description = "Overwrite files that are there." };
    private readonly Option<bool> _json = AsJson();

    public JobDownloadCommand(ClusterOptions cluster)
        : base("download", $"Fetch a job's model ({ArtifactName.Onnx}), weights ({ArtifactName.Weights}) and {ResultFiles.Metrics}: all of them, whole, or none.", cluster)
    {
        Add(_job);
        Add(_output);
        Add(_force);
        Add(_json);
        SetAction(DownloadAsync);
    }

    private async Task<int> DownloadAsync(ParseResult parsed, CancellationToken cancellation)
    {
        if (string.IsNullOrWhiteSpace(parsed.GetValue(_output)))
            throw new CliException($"--output is \"{parsed.GetValue(_output)}\", expected a folder.", ExitCode.Usage);
        var folder = Path.GetFullPath(parsed.GetRequiredValue(_output));
        var (job, files) = await Cluster.CallAsync(parsed, async clients =>
        {
            var id = await Ids.JobAsync(clients.Jobs, parsed.GetRequiredValue(_job), cancellation).ConfigureAwait(false);
            var job = await clients.Jobs.GetJobAsync(new GetJobRequest { JobId = id }, cancellationToken: cancellation);
            return (job, await new ResultFiles(job, new BlobDownload(clients.Blobs, TimeProvider.System)).SaveAsync(folder, parsed.GetValue(_force), cancellation).ConfigureAwait(false));
        }, cancellation).ConfigureAwait(false);
        if (parsed.GetValue(_json))
            Json.Write(new DownloadView(job.Id, folder, files));
        else
            Console.WriteLine(VisibleText.Of($"Saved {string.Join(", ", files.Select(f => $"{f.Name} ({Words.Bytes(f.SizeBytes)})"))} in \"{folder}\"."));
        return ExitCode.Success;
    }
}
