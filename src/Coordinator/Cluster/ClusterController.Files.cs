using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

// Which files a worker may fetch, store and name: those of the jobs whose attempts it was given.
internal sealed partial class ClusterController
{
    private const int FilesKept = 32; // a job's results and its latest checkpoints

    /// <summary>Whether the file is an input, a checkpoint or a result of a job that the worker was given.</summary>
    public bool MayFetch(string workerId, BlobKind kind, ContentHash fileId) => JobsOf(workerId).Any(job => kind == BlobKind.Dataset
        ? job.Spec.DatasetIds.Contains(fileId)
        : job.Spec.FileIds.Contains(fileId) || job.Checkpoints.Any(c => c.Id == fileId) || job.Files.Contains(fileId));

    /// <summary>Whether the worker has an attempt that files may belong to.</summary>
    public bool MayStore(string workerId) => JobsOf(workerId).Any();

    /// <summary>The worker has sent the whole file: it may name it for the jobs that it was given.</summary>
    /// <returns>False: it was given none.</returns>
    public bool Stored(string workerId, ContentHash fileId)
    {
        var given = JobsOf(workerId).Distinct().ToList();
        foreach (var job in given.Where(j => !j.Files.Contains(fileId)))
        {
            job.Files = [.. job.Files.TakeLast(FilesKept - 1), fileId];
            jobs.Save(job);
        }

        return given.Count > 0;
    }

    private bool MayName(WorkerEntry worker, JobEntry job, ContentHash fileId) =>
        (worker.IsLocal || job.Files.Contains(fileId)) && blobs.Contains(fileId);

    private IEnumerable<JobEntry> JobsOf(string workerId) =>
        workers.Find(workerId)?.Attempts.Values.Select(a => jobs.Find(a.JobId)).OfType<JobEntry>().Where(j => !j.IsFinal) ?? [];
}
