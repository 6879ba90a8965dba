using Google.Protobuf;
using Google.Protobuf.WellKnownTypes;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Cluster;
using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

/// <summary>
/// The living jobs and the latest ended ones. Every change of state is written as a row and published as an event;
/// used on the event loop only.
/// </summary>
internal sealed class JobTable(Journal journal, TimeProvider time, AwakeClock clock)
{
    private const int EndedKept = 100;
    private const long EndedBytesKept = 64 << 20; // of results, with the history of long trainings
    private readonly Dictionary<OpaqueId, JobEntry> _jobs = [];
    private readonly Dictionary<(string Tenant, string RequestId), JobEntry> _byRequest = [];
    private readonly Queue<JobEntry> _ended = [];
    private readonly Dictionary<string, int> _activeOf = new(StringComparer.Ordinal);
    private long _lastNumber;
    private long _endedBytes;

    /// <summary>Called whenever the end of a job is durable.</summary>
    public Action? EndCommitted { get; set; }

    public IEnumerable<JobEntry> Active => _jobs.Values.Where(j => !j.IsFinal);

    /// <summary>How many live, of a tenant or (null) of all.</summary>
    public int ActiveOf(string? tenant) => tenant is null ? _activeOf.Values.Sum() : _activeOf.GetValueOrDefault(tenant);

    /// <summary>Those of the living jobs that wait for a worker.</summary>
    public JobQueue Queue { get; } = new();

    /// <summary>A job; null: there is none, or of null.</summary>
    public JobEntry? Find(OpaqueId? id) => id is null ? null : _jobs.GetValueOrDefault(id);

    public JobEntry? FindRequest(string tenant, string requestId) => _byRequest.GetValueOrDefault((tenant, requestId));

    /// <summary>Lets the same request make another job.</summary>
    public void ForgetRequest(JobEntry job)
    {
        if (job.RequestId is not null)
            _byRequest.Remove((job.Tenant, job.RequestId));
        job.RequestId = null;
    }

    /// <summary>Takes jobs back that an earlier run of the coordinator left.</summary>
    public void Restore(IEnumerable<JobEntry> jobs, long lastNumber)
    {
        _lastNumber = lastNumber;
        foreach (var job in jobs)
            Keep(job);
    }

    /// <summary>Takes a new job in.</summary>
    /// <param name="spec">What is asked.</param>
    /// <param name="tenant">Whose it is.</param>
    /// <param name="requestId">The same again is the same job; null or empty: none.</param>
    /// <param name="checkpoints">What it goes on from, newest first; null: nothing.</param>
    /// <param name="reason">Why it waits.</param>
    public JobEntry Add(JobSpec spec, string tenant, string? requestId, IReadOnlyList<StoredCheckpoint>? checkpoints = null, string reason = "submitted")
    {
        var job = new JobEntry
        {
            Id = OpaqueId.New(),
            Number = ++_lastNumber,
            Tenant = tenant,
            RequestId = string.IsNullOrEmpty(requestId) ? null : requestId,
            Spec = JobEntry.OutlineOf(spec),
            WholeSpec = spec,
            Submitted = time.GetUtcNow(),
            UnwatchedSince = clock.Now,
            Checkpoints = checkpoints ?? [],
        };
        Keep(job);
        Transition(job, JobState.Queued, reason);
        return job;
    }

    /// <summary>Moves a job to a state, or gives another reason for the one it is in.</summary>
    public void Transition(JobEntry job, JobState state, string reason, int worldSize = 0)
    {
        var isNew = job.LastSequence == 0;
        (job.State, job.Reason) = (state, reason);
        var jobEvent = Next(job);
        jobEvent.State = new StateChanged { State = state, Reason = reason, WorldSize = worldSize, Result = job.Result, Failure = job.Failure };
        if (state == JobState.Running)
            job.Started ??= jobEvent.Time.ToDateTimeOffset();
        if (job.IsFinal)
            End(job, jobEvent.Time.ToDateTimeOffset());
        Enqueue(job);

        var row = job.ToRow();
        IMessage? document = isNew ? job.WholeSpec : state == JobState.Succeeded ? job.Result : null;
        var transition = new JobTransitionRow
        {
            JobId = job.Id.Text,
            Sequence = jobEvent.Sequence,
            Time = jobEvent.Time.ToDateTimeOffset(),
            State = (int)state,
            Attempt = job.Attempt,
            Reason = reason,
        };
        journal.Append(context =>
        {
            context.Put(context.Jobs, row, isNew, j => j.Id == row.Id);
            if (document is not null)
                context.JobDocuments.Add(new JobDocumentRow { JobId = row.Id, Kind = isNew ? JobDocument.Spec : JobDocument.Result, Content = document.ToByteArray() });
            context.JobTransitions.Add(transition);
            context.JobEvents.Add(ToRow(job, jobEvent));
        }, () =>
        {
            if (isNew)
                job.WholeSpec = null;
            job.Feed.Publish(jobEvent);
            if (JobStates.IsFinal(state))
                EndCommitted?.Invoke();
        });
    }

    /// <summary>Publishes what a rank or a worker told.</summary>
    public void Publish(JobEntry job, Action<JobEvent> fill)
    {
        var jobEvent = Next(job);
        fill(jobEvent);
        journal.Append(context => context.JobEvents.Add(ToRow(job, jobEvent)), () => job.Feed.Publish(jobEvent));
        if (!JobStates.IsTransient(jobEvent))
            return;
        job.Transient.Add(jobEvent.Sequence, jobEvent.CalculateSize());
        if (job.Transient.Prune() is { } last)
            Forget(job, last);
    }

    public void Log(JobEntry job, Protocol.LogLevel level, string message) => Publish(job, e => e.Log = new LogLine { Level = level, Source = "coordinator", Message = message });

    /// <summary>Drops ended jobs whose rows are being removed.</summary>
    public void Forget(IEnumerable<OpaqueId> ids)
    {
        foreach (var id in ids)
            if (_jobs.GetValueOrDefault(id) is { IsFinal: true } job)
                Drop(job);
    }

    /// <summary>Writes a job's row without a change of its state.</summary>
    public void Save(JobEntry job, Action? committed = null)
    {
        Enqueue(job);
        var row = job.ToRow();
        journal.Append(context => context.Put(context.Jobs, row, isNew: false, j => j.Id == row.Id), committed);
    }

    private void Keep(JobEntry job)
    {
        _jobs.Add(job.Id, job);
        _activeOf[job.Tenant] = _activeOf.GetValueOrDefault(job.Tenant) + 1;
        if (job.RequestId is not null)
            _byRequest[(job.Tenant, job.RequestId)] = job;
        Enqueue(job);
    }

    // All that decides whether a job waits goes through the methods that call this.
    private void Enqueue(JobEntry job)
    {
        if (job.IsPending)
            Queue.Put(job.ToPending());
        else
            Queue.Remove(job.Id);
    }

    private void End(JobEntry job, DateTimeOffset now)
    {
        job.Ended = now;
        _ended.Enqueue(job);
        _endedBytes += BytesOf(job);
        if (--_activeOf[job.Tenant] == 0)
            _activeOf.Remove(job.Tenant);
        // Not the latest, whose end is being written.
        while (_ended.Count > EndedKept || _ended.Count > 1 && _endedBytes > EndedBytesKept)
        {
            _endedBytes -= BytesOf(_ended.Peek());
            Drop(_ended.Dequeue());
        }
    }

    private static int BytesOf(JobEntry job) => job.Result?.CalculateSize() ?? 0;

    private void Drop(JobEntry job)
    {
        _jobs.Remove(job.Id);
        if (job.RequestId is not null)
            _byRequest.Remove((job.Tenant, job.RequestId));
    }

    private void Forget(JobEntry job, long last)
    {
        var id = job.Id.Text;
        journal.Append(
            context => context.JobEvents.Where(e => e.JobId == id && e.Transient && e.Sequence <= last).ExecuteDelete(),
            () => job.Feed.Prune(last));
    }

    /// <summary>Tells those who watch why a job waits; no row, and under the number of the event before it.</summary>
    public JobEvent Waiting(JobEntry job, string reason) => new()
    {
        Sequence = job.LastSequence,
        Time = time.GetUtcNow().ToTimestamp(),
        Attempt = job.Attempt,
        State = new StateChanged { State = job.State, Reason = reason },
    };

    private JobEvent Next(JobEntry job) => new() { Sequence = ++job.LastSequence, Time = time.GetUtcNow().ToTimestamp(), Attempt = job.Attempt };

    private static JobEventRow ToRow(JobEntry job, JobEvent jobEvent) =>
        new() { JobId = job.Id.Text, Sequence = jobEvent.Sequence, Transient = JobStates.IsTransient(jobEvent), Event = jobEvent.ToByteArray() };
}
