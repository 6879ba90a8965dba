using MLDistributed.Protocol;
using static MLDistributed.Worker.Attempts.AttemptAction;
using static MLDistributed.Worker.Attempts.AttemptInput;

namespace MLDistributed.Worker.Attempts;

/// <summary>
/// Where one attempt stands, and what follows from what it hears; does nothing by itself.
/// Preparing until files and ranks are ready, then running, then uploading. The first failure, or a request to stop,
/// leads to stopping, which lasts until every rank has answered or the deadline has them killed: waiting for all
/// answers is what lets a failure be told from its bystanders, whichever is heard first. Where other workers take part,
/// ranks run when all workers are ready, and the one with rank 0 alone has a result.
/// </summary>
/// <param name="attemptId">The attempt.</param>
/// <param name="place">What this worker is in it.</param>
/// <param name="size">How many of its ranks are here; they count from 0 here, whatever their numbers in the attempt.</param>
internal sealed class AttemptState(string attemptId, AttemptPlace place, int size)
{
    private readonly RankPhase[] _ranks = new RankPhase[size];
    private readonly bool[] _started = new bool[size];
    private Phase _phase;
    private bool _filesReady;
    private bool _stopRequested;
    private JobFailure? _failure;
    private bool _failureIsBystanders;
    private AttemptInput.RankFinished? _finished;

    private enum Phase { Preparing, Ready, Running, Uploading, Stopping, Ended }

    private enum RankPhase { Loading, Ready, Busy, Done }

    public bool HasEnded => _phase == Phase.Ended;

    /// <summary>Of several workers: whether it has all that it needs, and waits for the others, or has begun with them.</summary>
    public bool IsReady => place.IsShared && _phase is (Phase.Ready or Phase.Running);

    /// <summary>Whether all ranks run.</summary>
    public bool HasStarted => _phase == Phase.Running && _started.All(s => s);

    public IReadOnlyList<AttemptAction> Apply(AttemptInput input)
    {
        if (HasEnded)
            return [];
        switch (input)
        {
            case FilesReady:
                _filesReady = true;
                return StartWhenReady();
            case AttemptInput.RankReady { Rank: var rank } when _phase == Phase.Preparing:
                _ranks[rank] = RankPhase.Ready;
                return StartWhenReady();
            case Begun when _phase == Phase.Ready:
                return StartRanks();
            case FilesFailed failed:
                return Fail(failed.Failure, failed.IsBystander);
            case AttemptInput.RankStarted { Rank: var rank } when _phase == Phase.Running && !_started[rank]:
                _started[rank] = true;
                return HasStarted ? [new ReportStarted()] : [];
            case AttemptInput.RankFinished finished:
                _ranks[finished.Rank] = RankPhase.Done;
                if (finished.Rank == 0 && place.IsFirst)
                    _finished = finished;
                return _phase == Phase.Running ? UploadWhenFinished() : EndWhenStopped();
            case AttemptInput.RankFailed { Rank: var rank } failed:
                _ranks[rank] = RankPhase.Done;
                // The one that speaks for this worker says which other it waited for.
                return Fail(failed.Failure, failed.IsBystander, isBetter: place.IsShared && rank == 0);
            case AttemptInput.RankStopped { Rank: var rank }:
                _ranks[rank] = RankPhase.Done;
                return _phase == Phase.Running ? Fail(StoppedUnasked(place.FirstRank + rank), isBystander: true) : EndWhenStopped();
            // A rank that dies with its work done harms nobody.
            case RankExited { Rank: var rank } when _ranks[rank] == RankPhase.Done:
                return [];
            case RankExited { Rank: var rank, Failure: var failure }:
                _ranks[rank] = RankPhase.Done;
                return Fail(failure);
            case StopRequested { Reason: var reason }:
                _stopRequested = true;
                return Stop(reason);
            case StopDeadline when _phase == Phase.Stopping:
                return [new KillRanks(Busy()), End()];
            case Uploaded { Result: var result } when _phase == Phase.Uploading:
                _phase = Phase.Ended;
                return [new End(new AttemptEnded { AttemptId = attemptId, Result = result })];
            case UploadFailed { Failure: var failure } when _phase == Phase.Uploading:
                return Fail(failure);
            default:
                return [];
        }
    }

    private IReadOnlyList<AttemptAction> StartWhenReady()
    {
        if (_phase != Phase.Preparing || !_filesReady || _ranks.Any(r => r != RankPhase.Ready))
            return [];
        if (!place.IsShared)
            return StartRanks();
        _phase = Phase.Ready;
        return [new ReportReady()];
    }

    private IReadOnlyList<AttemptAction> StartRanks()
    {
        _phase = Phase.Running;
        Array.Fill(_ranks, RankPhase.Busy);
        return [new AttemptAction.StartRanks()];
    }

    private IReadOnlyList<AttemptAction> UploadWhenFinished()
    {
        if (_ranks.Any(r => r != RankPhase.Done))
            return [];
        if (!place.IsFirst)
        {
            _phase = Phase.Ended;
            return [new End(new AttemptEnded { AttemptId = attemptId, Finished = new Finished() })];
        }

        if (_finished?.Result is not { } result)
            return Fail(new JobFailure { Kind = FailureKind.Training, Rank = 0, Message = "Rank 0 finished without a result, expected one. Report this as a defect of MLDistributed." });
        _phase = Phase.Uploading;
        return [new Upload(result, _finished.Files)];
    }

    private IReadOnlyList<AttemptAction> Fail(JobFailure failure, bool isBystander = false, bool isBetter = false)
    {
        // What ranks do after they were asked to stop is no failure of the job.
        if (!_stopRequested && (_failure is null || (_failureIsBystanders && (!isBystander || isBetter))))
        {
            _failure = failure;
            _failureIsBystanders = isBystander;
        }

        return Stop(failure.Message);
    }

    private IReadOnlyList<AttemptAction> Stop(string reason)
    {
        if (_phase == Phase.Stopping)
            return EndWhenStopped();
        _phase = Phase.Stopping;
        return Busy() is { Length: > 0 } busy ? [new StopRanks(busy, reason)] : [End()];
    }

    private IReadOnlyList<AttemptAction> EndWhenStopped() => _phase == Phase.Stopping && Busy().Length == 0 ? [End()] : [];

    private int[] Busy() => [.. Enumerable.Range(0, size).Where(r => _ranks[r] == RankPhase.Busy)];

    private End End()
    {
        _phase = Phase.Ended;
        return new End(_failure is null
            ? new AttemptEnded { AttemptId = attemptId, Stopped = new Stopped() }
            : new AttemptEnded { AttemptId = attemptId, Failure = _failure, IsBystander = _failureIsBystanders });
    }

    private static JobFailure StoppedUnasked(int rank) => new()
    {
        Kind = FailureKind.Crashed,
        Rank = rank,
        Message = $"Rank {rank} stopped unasked, expected it to train to the end.",
    };
}
