using System.Globalization;
using Microsoft.EntityFrameworkCore;
using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Jobs;
using MLDistributed.Coordinator.Store;
using MLDistributed.Coordinator.Workers;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Cluster;

/// <summary>
/// Takes the living jobs over from the coordinator's run before. Waiting ones go on waiting; one that ran becomes
/// Recovering, and Running again when its worker comes back with the attempt.
/// </summary>
internal sealed class Restoration(ClusterDatabase database, JobTable jobs, WorkerTable workers, CordonBook cordons, CoordinatorOptions options, AwakeClock clock, ILogger<Restoration> logger)
{
    private readonly ClusterLog _log = new(logger);

    public void Run()
    {
        using var context = database.NewContext();
        var lastNumber = context.Jobs.Max(j => (long?)j.Number) ?? 0;
        var firstFinal = (int)JobState.Succeeded;
        var living = context.Jobs.AsNoTracking().Where(j => j.State < firstFinal);
        var restored = RestoreAll(context, living);
        jobs.Restore(restored.Select(r => r.Job), lastNumber);
        foreach (var (job, parts, hasRun) in restored)
            if (parts.Count > 0 && TryRead("Attempt", parts[0].Id, () => Attach(parts)) is { } running)
                Await(job, running, hasRun);
        HoldOthers(context);
        foreach (var cordon in context.Cordons.AsNoTracking().ToList())
            cordons.Put(cordon.WorkerId, cordon.Reason);
        if (restored.Count > 0)
            _log.Restored(restored.Count);
    }

    // Three queries, however many jobs there are; where a row is in the way, one job after the other, so that it takes none with it.
    private List<Restored> RestoreAll(ClusterDbContext context, IQueryable<JobRow> living)
    {
        try
        {
            return DamagedRowException.Read("A row", "?", () =>
            {
                var rows = living.ToList();
                var events = living.Join(context.JobEvents, j => j.Id, e => e.JobId, (_, e) => e).AsNoTracking().ToLookup(e => e.JobId, StringComparer.Ordinal);
                var attempts = living.Join(context.Attempts, j => j.Id, a => a.JobId, (_, a) => a).AsNoTracking().ToLookup(a => a.JobId, StringComparer.Ordinal);
                return rows.Select(row => TryRead("Job", row.Id, () => Restore(row, events[row.Id], attempts[row.Id]))).OfType<Restored>().ToList();
            });
        }
        catch (DamagedRowException)
        {
            return [.. living.OrderBy(j => j.Number).Select(j => j.Id).ToList().Select(id => TryRead("Job", id, () => Restore(
                living.Single(j => j.Id == id), context.JobEvents.AsNoTracking().Where(e => e.JobId == id).ToList(), context.Attempts.AsNoTracking().Where(a => a.JobId == id).ToList()))).OfType<Restored>()];
        }
    }

    private Restored Restore(JobRow row, IEnumerable<JobEventRow> events, IEnumerable<AttemptRow> all)
    {
        var job = JobEntry.FromRow(row);
        job.UnwatchedSince = clock.Now;
        var hasRun = false;
        foreach (var stored in events.OrderBy(e => e.Sequence))
        {
            job.LastSequence = stored.Sequence;
            if (TryRead("Event", $"{row.Id}/{stored.Sequence}", () => JobEvent.Parser.ParseFrom(stored.Event)) is not { } jobEvent)
                continue;
            job.Feed.Publish(jobEvent);
            job.Progress = jobEvent.Progress ?? job.Progress;
            hasRun |= jobEvent.State?.State == JobState.Running && jobEvent.Attempt == row.Attempt;
            if (jobEvent.Epoch is { } epoch)
                job.LastEpoch = (jobEvent.Attempt, epoch.Epoch);
            if (stored.Transient)
                job.Transient.Add(stored.Sequence, stored.Event.Length);
        }

        var attempts = all.OrderBy(a => a.Number).ToList();
        foreach (var attempt in attempts.Where(a => a.Number < row.Attempt).GroupBy(a => a.Id, StringComparer.Ordinal))
            if (FailureOf(attempt) is { } failed)
                job.Remember(failed);
        return new Restored(job, [.. attempts.Where(a => a.Number == row.Attempt).OrderBy(a => a.FirstRank)], hasRun);
    }

    private void Await(JobEntry job, AttemptEntry attempt, bool hasRun)
    {
        job.Current = attempt;
        foreach (var part in attempt.Parts)
            part.HasStarted = hasRun; // its worker does not say it again
        if (job.CancelReason is { } reason)
        {
            job.CancelDeadline = clock.Now + options.StopTimeout;
            jobs.Transition(job, JobState.Recovering, $"the coordinator restarted while the job was being cancelled: {reason}");
            return;
        }

        jobs.Transition(job, JobState.Recovering, $"the coordinator restarted and waits for worker {Words.Join(attempt.Living.Select(p => $"\"{p.Worker.Host}\""))}, which may still be training");
    }

    // Those that were given up before their worker said that they ended: they still hold their slots.
    private void HoldOthers(ClusterDbContext context)
    {
        var living = workers.Attempts().Select(a => (a.Id.Text, a.Worker.Id)).ToHashSet();
        foreach (var row in context.Attempts.AsNoTracking().Where(a => a.EndedAt == null).ToList().Where(a => !living.Contains((a.Id, a.WorkerId))))
        {
            if (TryRead("Attempt", row.Id, () => Attach([row])) is { } attempt)
                workers.GiveUp(attempt.Parts[0], FailureOf(row) ?? Failures.WorkerLost(attempt.Parts[0].Worker, $"Worker \"{row.Host}\" did not say that the attempt ended."));
        }
    }

    // Of several workers some have failed because another had, and any may have kept the newest state.
    private JobFailure? FailureOf(IEnumerable<AttemptRow> parts)
    {
        var failures = parts.Select(FailureOf).OfType<JobFailure>().ToList();
        if (failures.MaxBy(f => (f.Kind == FailureKind.CheckpointDamaged, f.ExitCode != 0, f.Step)) is not { } cause)
            return null;
        cause.KeptStep = failures.Max(f => f.KeptStep);
        return cause;
    }

    private JobFailure? FailureOf(AttemptRow row) => row.Failure is null ? null : TryRead("Attempt", row.Id, () => JobFailure.Parser.ParseFrom(row.Failure));

    // Null: it is set aside, as it is.
    private T? TryRead<T>(string what, string id, Func<T> read)
    {
        try
        {
            return DamagedRowException.Read(what, id, read);
        }
        catch (DamagedRowException e)
        {
            _log.SetAside(e.Message);
            return default;
        }
    }

    private AttemptEntry Attach(IReadOnlyList<AttemptRow> rows)
    {
        var attempt = new AttemptEntry { Id = OpaqueId.Parse(rows[0].Id), JobId = OpaqueId.Parse(rows[0].JobId), Number = rows[0].Number, Started = rows[0].StartedAt };
        foreach (var row in rows)
        {
            int[] slots = [.. row.Slots.Split(',').Select(s => int.Parse(s, CultureInfo.InvariantCulture))];
            var part = attempt.Add(workers.Restore(row.WorkerId, row.Host, clock.Now), slots, row.FirstRank);
            part.LastSign = clock.Now;
            if (row.EndedAt is not null)
                part.HasEnded = true;
            else
                workers.Hold(part);
        }

        // One had failed, or was not heard and had stopped as it was told to, and the others were awaited.
        if (FailureOf(rows.Where(r => r.EndedAt is not null)) is { } failure)
        {
            attempt.Keep(failure.KeptStep);
            attempt.Note(failure, blame: null, isBystander: true);
            attempt.EndsBy = clock.Now;
        }

        // Its last word was written, and what follows from it was not.
        if (!attempt.Living.Any() && attempt.EndsBy is null)
        {
            attempt.Note(Failures.WorkerLost(attempt.Parts[0].Worker, "The coordinator ended while it took in the end of the attempt."), blame: null, isBystander: false);
            attempt.EndsBy = clock.Now;
        }

        return attempt;
    }

    private sealed record Restored(JobEntry Job, IReadOnlyList<AttemptRow> Parts, bool HasRun);
}
