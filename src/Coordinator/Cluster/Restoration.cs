using System.Globalization;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>
/// Takes the living jobs over from the coordinator's run before. Waiting ones go on waiting; one that ran becomes
/// Recovering, and Running again when its worker comes back with the attempt.
/// </summary>
internal sealed class Restoration(ClusterDatabase database, JobTable jobs, WorkerTable workers, CoordinatorOptions options, AwakeClock clock, ILogger<Restoration> logger)
{
    private readonly ClusterLog _log = new(logger);

    public void Run()
    {
        using var context = database.NewContext();
        var lastNumber = context.Jobs.Max(j => (long?)j.Number) ?? 0;
        var firstFinal = (int)JobState.Succeeded;
        var living = context.Jobs.AsNoTracking().Where(j => j.State < firstFinal);
        // Three queries, however many jobs there are.
        var events = living.Join(context.JobEvents, j => j.Id, e => e.JobId, (_, e) => e).AsNoTracking().ToLookup(e => e.JobId, StringComparer.Ordinal);
        var attempts = living.Join(context.Attempts, j => j.Id, a => a.JobId, (_, a) => a).AsNoTracking().ToLookup(a => a.JobId, StringComparer.Ordinal);
        var restored = living.ToList().Select(row => Restore(row, events[row.Id], [.. attempts[row.Id].OrderBy(a => a.Number)])).ToList();
        jobs.Restore(restored.Select(r => r.Job), lastNumber);
        foreach (var (job, attempt) in restored)
            if (attempt is not null)
                Await(job, attempt);
        HoldOthers(context);
        if (restored.Count > 0)
            _log.Restored(restored.Count);
    }

    private (JobEntry Job, AttemptRow? Attempt) Restore(JobRow row, IEnumerable<JobEventRow> events, IReadOnlyList<AttemptRow> attempts)
    {
        var job = JobEntry.FromRow(row);
        job.UnwatchedSince = clock.Now;
        foreach (var stored in events.OrderBy(e => e.Sequence))
        {
            var jobEvent = JobEvent.Parser.ParseFrom(stored.Event);
            job.Feed.Publish(jobEvent);
            job.LastSequence = stored.Sequence;
            job.Progress = jobEvent.Progress ?? job.Progress;
            if (jobEvent.Epoch is { } epoch)
                job.LastEpoch = (jobEvent.Attempt, epoch.Epoch);
            if (stored.Transient)
                job.TransientEvents.Enqueue(stored.Sequence);
        }

        foreach (var failed in attempts.Where(a => a.Failure is not null && a.Number < row.Attempt))
            job.Remember(JobFailure.Parser.ParseFrom(failed.Failure));
        return (job, attempts.LastOrDefault(a => a.Number == row.Attempt && a.EndedAt is null));
    }

    private void Await(JobEntry job, AttemptRow row)
    {
        var attempt = job.Current = Attach(row);
        if (job.CancelReason is { } reason)
        {
            job.CancelDeadline = clock.Now + options.StopTimeout;
            jobs.Transition(job, JobState.Recovering, $"the coordinator restarted while the job was being cancelled: {reason}");
            return;
        }

        jobs.Transition(job, JobState.Recovering, $"the coordinator restarted and waits for worker \"{attempt.Worker.Host}\", which may still be training");
    }

    // Attempts that were given up before their worker said that they ended: they still hold their slots.
    private void HoldOthers(ClusterDbContext context)
    {
        var living = workers.Attempts().Select(a => a.Id).ToArray();
        foreach (var row in context.Attempts.AsNoTracking().Where(a => a.EndedAt == null && !living.Contains(a.Id)).ToList())
        {
            var attempt = Attach(row);
            workers.GiveUp(attempt, row.Failure is null
                ? Failures.WorkerLost(attempt.Worker, $"Worker \"{row.Host}\" did not say that the attempt ended.")
                : JobFailure.Parser.ParseFrom(row.Failure));
        }
    }

    private AttemptEntry Attach(AttemptRow row)
    {
        var worker = workers.Restore(row.WorkerId, row.Host, clock.Now);
        var attempt = new AttemptEntry
        {
            Id = row.Id,
            JobId = row.JobId,
            Number = row.Number,
            Worker = worker,
            Slots = [.. row.Slots.Split(',').Select(s => int.Parse(s, CultureInfo.InvariantCulture))],
            Started = row.StartedAt,
            LastSign = clock.Now,
        };
        workers.Hold(attempt);
        return attempt;
    }
}
