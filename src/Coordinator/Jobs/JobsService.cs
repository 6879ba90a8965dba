using Google.Protobuf.WellKnownTypes;
using Grpc.Core;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Blobs;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Datasets;
using MLDistributed.Coordinator.Hosting;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>What clients do with jobs. Living jobs are asked of the event loop, long ended ones of the database.</summary>
internal sealed class JobsService(
    ClusterController cluster, ClusterService service, EventLoop loop, Journal journal, JobArchive archive, DatasetStore datasets, BlobStore blobs, Ownership ownership, MessageBudget budget, CoordinatorOptions options, IHostApplicationLifetime lifetime)
    : Protocol.Jobs.JobsBase
{
    private const int WatchPage = 256;
    private const int LargeEventBytes = 1 << 20; // one with the history of a long training

    public override async Task<ClusterSnapshot> GetCluster(GetClusterRequest request, ServerCallContext context)
    {
        var caller = Caller.Of(context);
        await budget.HoldAsync(context, await loop.InvokeAsync(() => cluster.SnapshotBytes).ConfigureAwait(false)).ConfigureAwait(false);
        var snapshot = await loop.InvokeAsync(() => cluster.Snapshot(caller)).ConfigureAwait(false);
        snapshot.AcceptsCode = options.AllowUserCode;
        return snapshot;
    }

    public override async Task<SubmitJobReply> SubmitJob(SubmitJobRequest request, ServerCallContext context)
    {
        if (!service.CheckFiles())
            throw new RpcException(new Status(StatusCode.Unavailable, service.Fault!.Message)); // nobody would know the job after the next start
        var tenant = Caller.Of(context).Tenant;
        if (request.RequestId.Length > 0 && await archive.FindRequestAsync(tenant, request.RequestId, context.CancellationToken).ConfigureAwait(false) is { } earlier
            && await loop.InvokeAsync(() => cluster.Find(earlier) is not { } job || job.RequestId == request.RequestId).ConfigureAwait(false)) // else it was withdrawn
            return new SubmitJobReply { JobId = earlier.Text };
        await ValidateAsync(request.Spec ?? new JobSpec(), context).ConfigureAwait(false);
        if (journal.Trouble.IsFaulted)
            await journal.Trouble.ConfigureAwait(false);
        var job = await loop.InvokeAsync(() => cluster.Submit(request.Spec!, tenant, request.RequestId)).ConfigureAwait(false);
        try
        {
            await journal.FlushAsync().ConfigureAwait(false);
        }
        catch (StoreException e)
        {
            await loop.InvokeAsync(() => cluster.Withdraw(job.Id, e.Message)).ConfigureAwait(false); // its submitter does not know its id
            throw;
        }

        // Now the job holds them: its own claims, and those of the client that found or brought them, are done.
        foreach (var id in request.Spec!.DatasetIds)
            datasets.Release(id, count: 2);
        return new SubmitJobReply { JobId = job.Id.Text };
    }

    public override async Task<SubmitJobReply> ResumeJob(ResumeJobRequest request, ServerCallContext context)
    {
        if (!service.CheckFiles())
            throw new RpcException(new Status(StatusCode.Unavailable, service.Fault!.Message));
        var id = OpaqueId.Parse(request.JobId);
        await GetAsync(id, context).ConfigureAwait(false);
        // The commits before this are in the database, and of ended jobs that are not in memory only the loop writes more.
        await journal.FlushAsync().ConfigureAwait(false);
        var stored = await archive.FindEntryAsync(id, context.CancellationToken).ConfigureAwait(false);
        var ended = await loop.InvokeAsync(() => cluster.Find(id) ?? stored).ConfigureAwait(false)
            ?? throw new RpcException(new Status(StatusCode.NotFound, $"Job \"{id}\" was removed by its age while it was being resumed."));
        var requestId = $"resume {id}";
        if (await archive.FindRequestAsync(ended.Tenant, requestId, context.CancellationToken).ConfigureAwait(false) is { } earlier)
            return new SubmitJobReply { JobId = (await RequireUsefulAsync(id, earlier, context).ConfigureAwait(false)).Text };
        if (ResumeRules.Refusal(ended.ToSnapshot(), blobs.Contains, options.CheckpointRetention, ended.Checkpoints) is { } refusal)
            throw new RpcException(new Status(StatusCode.FailedPrecondition, refusal));
        await HoldDocumentsAsync(id, context).ConfigureAwait(false);
        var spec = SpecOf(id);
        await ValidateAsync(spec, context, isResumed: true).ConfigureAwait(false);
        var job = await loop.InvokeAsync(() => cluster.Resume(ended, spec, requestId)).ConfigureAwait(false);
        await journal.FlushAsync().ConfigureAwait(false);
        foreach (var dataset in spec.DatasetIds)
            datasets.Release(dataset, count: 1);
        return new SubmitJobReply { JobId = job.Id.Text };
    }

    public override async Task WatchJob(WatchJobRequest request, IServerStreamWriter<JobEvent> responseStream, ServerCallContext context)
    {
        var id = OpaqueId.Parse(request.JobId);
        await GetAsync(id, context).ConfigureAwait(false);
        using var stop = CallEnd.Of(context, lifetime);
        var caller = Caller.Of(context);
        var job = request.PastOnly ? null : await loop.InvokeAsync(() => cluster.OpenWatch(id)).ConfigureAwait(false);
        if (job is null)
        {
            await foreach (var jobEvent in archive.EventsAsync(id, request.AfterSequence).WithCancellation(stop.Token).ConfigureAwait(false))
                await SendAsync(responseStream, jobEvent, caller, stop.Token).ConfigureAwait(false);
            return;
        }

        try
        {
            await FollowAsync(job.Feed, request.AfterSequence, responseStream, caller, stop.Token).ConfigureAwait(false);
        }
        finally
        {
            loop.Post(() => cluster.CloseWatch(job));
        }
    }

    public override async Task<JobSnapshot> GetJob(GetJobRequest request, ServerCallContext context)
    {
        var id = OpaqueId.Parse(request.JobId);
        var snapshot = await GetAsync(id, context).ConfigureAwait(false);
        await HoldDocumentsAsync(id, context).ConfigureAwait(false);
        await archive.CompleteAsync(snapshot, context.CancellationToken).ConfigureAwait(false);
        return snapshot;
    }

    public override async Task<ListJobsReply> ListJobs(ListJobsRequest request, ServerCallContext context)
    {
        var caller = Caller.Of(context);
        await budget.HoldAsync(context, JobArchive.PageBytesOf(request)).ConfigureAwait(false);
        try
        {
            var (stored, next) = await archive.ListAsync(caller, request, context.CancellationToken).ConfigureAwait(false);
            var reply = new ListJobsReply { NextPageToken = next };
            reply.Jobs.Add(await loop.InvokeAsync(() => stored.Select(s => cluster.Find(OpaqueId.Parse(s.Id)) is { } job ? cluster.Summary(job) : s).ToList()).ConfigureAwait(false));
            return reply;
        }
        catch (ArgumentException e)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, e.Message));
        }
    }

    public override async Task<JobSnapshot> CancelJob(CancelJobRequest request, ServerCallContext context)
    {
        var id = OpaqueId.Parse(request.JobId);
        var snapshot = await GetAsync(id, context).ConfigureAwait(false);
        var job = await loop.InvokeAsync(() => cluster.Cancel(id, request.Reason)).ConfigureAwait(false);
        if (job is null)
            return snapshot; // it ended long ago
        using var stop = CallEnd.Of(context, lifetime);
        await Task.WhenAny(job.Feed.Ended, journal.Trouble).Unwrap().WaitAsync(stop.Token).ConfigureAwait(false);
        return await loop.InvokeAsync(() => cluster.Snapshot(job)).ConfigureAwait(false);
    }

    private async Task FollowAsync(JobFeed feed, long afterSequence, IServerStreamWriter<JobEvent> responseStream, Caller caller, CancellationToken cancellation)
    {
        JobEvent? last = null;
        Task? told = null;
        while (await NextAsync().ConfigureAwait(false) is { Count: > 0 } events)
            foreach (var jobEvent in events)
            {
                await SendAsync(responseStream, jobEvent, caller, cancellation).ConfigureAwait(false);
                (afterSequence, last) = (jobEvent.Sequence, jobEvent);
            }

        async Task<IReadOnlyList<JobEvent>> NextAsync()
        {
            var next = feed.ReadAsync(afterSequence, WatchPage, cancellation, last);
            var trouble = journal.Trouble;
            if (trouble != told && await Task.WhenAny(next, trouble).ConfigureAwait(false) == trouble)
            {
                told = trouble;
                var words = $"{trouble.Exception!.GetBaseException().Message} Training goes on; what it tells comes when the coordinator can write again.";
                await responseStream.SendAsync(new JobEvent { Time = options.Time.GetUtcNow().ToTimestamp(), Log = new LogLine { Level = Protocol.LogLevel.Warning, Source = "coordinator", Message = words } }, cancellation).ConfigureAwait(false);
            }

            return await next.ConfigureAwait(false);
        }
    }

    private async Task SendAsync(IServerStreamWriter<JobEvent> stream, JobEvent jobEvent, Caller caller, CancellationToken cancellation)
    {
        using var room = jobEvent.CalculateSize() is > LargeEventBytes and var bytes && !caller.IsLocal ? await budget.TakeAsync(caller.Owner, bytes, cancellation).ConfigureAwait(false) : null;
        await stream.SendAsync(jobEvent, cancellation).ConfigureAwait(false);
    }

    // They are read, parsed and written again.
    private async Task HoldDocumentsAsync(OpaqueId jobId, ServerCallContext context) =>
        await budget.HoldAsync(context, 3 * await archive.DocumentBytesAsync(jobId, context.CancellationToken).ConfigureAwait(false)).ConfigureAwait(false);

    // Another tenant's job does not exist for this one, and is looked for in the same places as one that does not exist.
    private async Task<JobSnapshot> GetAsync(OpaqueId jobId, ServerCallContext context)
    {
        var caller = Caller.Of(context);
        return await loop.InvokeAsync(() => cluster.Find(jobId) is { } job && caller.MaySee(job.Tenant) ? cluster.Snapshot(job) : null).ConfigureAwait(false)
            ?? await archive.FindAsync(caller, jobId, context.CancellationToken).ConfigureAwait(false)
            ?? throw new RpcException(new Status(StatusCode.NotFound, $"Job \"{jobId}\" is unknown, expected the id of a job that this key's tenant submitted to this coordinator."));
    }

    private JobSpec SpecOf(OpaqueId jobId)
    {
        try
        {
            return archive.Spec(jobId);
        }
        catch (InvalidDataException e)
        {
            throw new RpcException(new Status(StatusCode.DataLoss, e.Message));
        }
    }

    // What it was resumed as may have ended like it.
    private async Task<OpaqueId> RequireUsefulAsync(OpaqueId id, OpaqueId resumedAs, ServerCallContext context)
    {
        var job = await GetAsync(resumedAs, context).ConfigureAwait(false);
        return job.State is JobState.Failed or JobState.Cancelled
            ? throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Job \"{id}\" was resumed as job \"{resumedAs}\", which {(job.State == JobState.Failed ? "failed" : "was cancelled")}. Resume that one."))
            : resumedAs;
    }

    // With a checkpoint to go on from, nobody needs the model that the job had started from.
    private async Task ValidateAsync(JobSpec spec, ServerCallContext context, bool isResumed = false)
    {
        var caller = Caller.Of(context);
        var errors = JobSpecRules.Validate(spec);
        if (spec.Priority > caller.MaxPriority)
            errors = [.. errors, $"Priority is {spec.Priority}, expected at most {caller.MaxPriority}, the highest that key \"{caller.Name}\" may ask for. Ask for less, or an administrator for a key with a higher --max-priority."];
        if (errors.Count > 0)
            throw new RpcException(new Status(StatusCode.InvalidArgument, string.Join('\n', errors)));
        if (spec.Module.Torch is { } module)
        {
            UserCode.Require(options);
            if (!await HasAsync(caller, module.Package, context.CancellationToken).ConfigureAwait(false))
                throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Code package \"{module.PackageId}\" is not in the store, expected it uploaded before the job is submitted. Run Fit again, which sends it."));
            if (new FileInfo(blobs.PathOf(module.Package)) is { Length: > CodePackage.MaxBytes } file)
                throw new RpcException(new Status(StatusCode.InvalidArgument, $"Code package \"{module.PackageId}\" has {file.Length:N0} bytes, expected at most {CodePackage.MaxBytes:N0}."));
        }

        foreach (var id in spec.DatasetIds)
        {
            if (!await ownership.MayUseAsync(caller, id, context.CancellationToken).ConfigureAwait(false) || !await datasets.TryClaimAsync(id, context.CancellationToken).ConfigureAwait(false))
                throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Dataset \"{id}\" is not in the store, expected it uploaded before the job is submitted. Upload it again."));
            datasets.MarkUsed(id);
        }

        // An attempt that goes on needs these too.
        if (spec.ModelFrame is { } frame && !await HasAsync(caller, frame.Hash, frame.SizeBytes, context.CancellationToken).ConfigureAwait(false))
            throw new RpcException(new Status(StatusCode.FailedPrecondition, $"The model's frame \"{frame.FileId}\" of {frame.SizeBytes:N0} bytes is not in the store, expected it uploaded before the job is submitted. Upload it again."));
        if (spec.StartingWeights is { } weights && !await HasAsync(caller, weights.Hash, weights.SizeBytes, context.CancellationToken).ConfigureAwait(false))
            throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Starting weights \"{weights.FileId}\" of {weights.SizeBytes:N0} bytes are not in the store, expected them uploaded before the job is submitted. Upload them again."));
        if (!isResumed && spec.StartFrom is { } start && !await HasAsync(caller, start.Hash, start.SizeBytes, context.CancellationToken).ConfigureAwait(false))
            throw new RpcException(new Status(StatusCode.FailedPrecondition, $"Model \"{start.ModelId}\" of {start.SizeBytes:N0} bytes, which the job starts from, is not in the store, expected it uploaded before the job is submitted. Upload it again."));
    }

    private async Task<bool> HasAsync(Caller caller, ContentHash id, long bytes, CancellationToken cancellation) =>
        await HasAsync(caller, id, cancellation).ConfigureAwait(false) && new FileInfo(blobs.PathOf(id)) is { Exists: true } file && file.Length == bytes;

    // Another tenant's file does not exist for this one.
    private async Task<bool> HasAsync(Caller caller, ContentHash id, CancellationToken cancellation) =>
        await ownership.MayUseAsync(caller, id, cancellation).ConfigureAwait(false) && await blobs.CheckAsync(id, isDoubted: false, cancellation).ConfigureAwait(false) == FileHealth.Whole;
}
