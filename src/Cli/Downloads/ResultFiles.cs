using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using MLDistributed.Cli.Output;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Cli.Downloads;

/// <summary>What a job made, as files: its artifacts, and its numbers as JSON.</summary>
internal sealed class ResultFiles(JobSnapshot job, BlobDownload blobs)
{
    public const string Metrics = "metrics.json";

    /// <summary>Saves all files in a folder, or none: they are fetched and checked beside their places, and then renamed.</summary>
    /// <param name="folder">Made when missing.</param>
    /// <param name="isForced">Whether files that are there may be overwritten.</param>
    /// <param name="cancellation">Leaves nothing behind.</param>
    /// <exception cref="CliException">The job has no result, or a file is there.</exception>
    public async Task<IReadOnlyList<ArtifactView>> SaveAsync(string folder, bool isForced, CancellationToken cancellation)
    {
        if (job.Result is null)
            throw new CliException($"Job {job.Id} is {Words.Of(job.State)}, expected one that succeeded: {(job.State.IsLast() ? $"it left no model. See \"mldist jobs show {job.Id}\"." : $"wait with \"mldist watch {job.Id}\".")}");
        foreach (var (name, artifact) in job.Result.Artifacts)
            RequireSize(name, artifact.SizeBytes);
        var metrics = Encoding.UTF8.GetBytes(Json.Document(JobView.Of(job)) + Environment.NewLine);
        var files = job.Result.Artifacts
            .Select(a => new ArtifactView(FileName(a.Key), a.Value.SizeBytes, a.Value.Id))
            .Append(new ArtifactView(Metrics, metrics.Length, Convert.ToHexStringLower(SHA256.HashData(metrics))))
            .DistinctBy(f => f.Name).OrderBy(f => f.Name, StringComparer.Ordinal).ToList();
        if (!isForced && files.Select(f => Path.Combine(folder, f.Name)).FirstOrDefault(Path.Exists) is { } taken)
            throw new CliException($"\"{taken}\" is there already, expected a folder without it. Name another with -o, or overwrite it with --force.");

        var isNew = !Directory.Exists(folder);
        var staging = Path.Combine(folder, $".mldist-{Guid.NewGuid():N}");
        try
        {
            Directory.CreateDirectory(staging);
            foreach (var (name, artifact) in job.Result.Artifacts)
                await blobs.SaveAsync(artifact, Path.Combine(staging, FileName(name)), cancellation).ConfigureAwait(false);
            if (job.Result.Artifacts.ContainsKey(ArtifactName.Onnx))
                await RequireOwnModelAsync(Path.Combine(staging, ArtifactName.Onnx), cancellation).ConfigureAwait(false);
            if (!job.Result.Artifacts.ContainsKey(Metrics))
                await File.WriteAllBytesAsync(Path.Combine(staging, Metrics), metrics, cancellation).ConfigureAwait(false);
            foreach (var file in files)
                File.Move(Path.Combine(staging, file.Name), Path.Combine(folder, file.Name), isForced);
        }
        finally
        {
            if (Directory.Exists(staging))
                Directory.Delete(staging, recursive: true);
            if (isNew && Directory.Exists(folder) && !Directory.EnumerateFileSystemEntries(folder).Any())
                Directory.Delete(folder);
        }

        return files;
    }

    // What a worker says of sizes is held against the layers that the job asked for.
    private void RequireSize(string name, long bytes)
    {
        var most = name is ArtifactName.Onnx or ArtifactName.Weights ? SizeOfModel().Most : int.MaxValue;
        if (bytes < 0 || bytes > most)
            throw new CliException(string.Create(CultureInfo.InvariantCulture, $"File \"{FileName(name)}\" of job {job.Id} is announced with {bytes:N0} bytes, expected at most {most:N0} for the layers of the job. Look at the worker that it comes from."));
    }

    // Whoever has the file will run it: it must be a network, and this job's.
    private async Task RequireOwnModelAsync(string path, CancellationToken cancellation)
    {
        try
        {
            JobModel.Check(await File.ReadAllBytesAsync(path, cancellation).ConfigureAwait(false), job.Spec ?? new JobSpec());
        }
        catch (FormatException e)
        {
            throw new CliException($"The model of job {job.Id} is not saved: {e.Message}");
        }
    }

    private (long Least, long Most) SizeOfModel()
    {
        try
        {
            return JobModel.Bytes(job.Spec ?? new JobSpec());
        }
        catch (FormatException e)
        {
            throw new CliException($"The files of job {job.Id} are not fetched: {e.Message}");
        }
    }

    // The names come over the wire: none may lead out of the folder.
    private static string FileName(string name) => name.Length > 0 && name[0] != '.' && name == VisibleText.Of(name) && name.IndexOfAny(['/', '\\', ':']) < 0
        ? name
        : throw new CliException($"The job names a file \"{name}\", expected a plain file name. Look at the coordinator: it may not be the one you think.");
}
