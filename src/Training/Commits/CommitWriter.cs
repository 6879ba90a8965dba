using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Commits;

/// <summary>
/// Copies the state of the training to the agent's memory every second or few, as often as it costs little: a rank's death
/// then repeats the steps since. Each rank copies its slices while the others do theirs.
/// </summary>
/// <remarks>
/// Rank 0 decides before the ranks meet at the end of a step, by its <see cref="PlannedWord"/>. Of several hosts each has
/// the whole state, and keeps it in its own agent's memory, at the same step as the others: so all stand still at once. One
/// that has no room stands still with them, and asks them after a failure.
/// </remarks>
internal sealed unsafe class CommitWriter
{
    private readonly ITrainedState _state;
    private readonly CommitFile? _file;
    private readonly IRankReporter _reporter;
    private readonly TimeProvider _time;
    private readonly CommitLayout _layout;
    private readonly ICollective _ranks;
    private bool _isOff;
    private bool _isPlanning;
    private int _half;
    private int _bestPlace = -1;
    private ModelWeights? _best;
    private long _lastTime;
    private TimeSpan _interval = CommitInterval.Least;
    private TimeSpan _lastCost;

    /// <param name="state">Of this rank.</param>
    /// <param name="file">The agent's memory; null: there is none.</param>
    /// <param name="choice">What the hosts' memory has, and has room for.</param>
    /// <param name="newest">What is in it, the same to all ranks of this host; null: nothing.</param>
    /// <param name="ranks">All.</param>
    /// <param name="reporter">Hears when a commit fails.</param>
    /// <param name="time">For the intervals.</param>
    public CommitWriter(ITrainedState state, CommitFile? file, CommitChoice choice, Commit? newest, ICollective ranks, IRankReporter reporter, TimeProvider time)
    {
        (_state, _file, _ranks, _reporter, _time, _layout) = (state, file, ranks, reporter, time, new CommitLayout(state));
        (_isOff, _isPlanning) = (!choice.HasRoomHere || file is null, choice.HasRoom);
        _half = 1 - (newest?.Half ?? 1);
        _bestPlace = newest?.BestPlace ?? -1;
        _best = _bestPlace >= 0 && choice.IsEverywhere ? state.Best : null;
        _lastTime = time.GetTimestamp();
    }

    /// <summary>A step begins.</summary>
    /// <param name="point">Its end.</param>
    public void BeginStep(TrainingPoint point)
    {
        _file?.BeginStep(_state.Segment.Rank, point.Step);
        if (_state.IsFirst && _isPlanning && _time.GetElapsedTime(_lastTime) >= _interval)
            Volatile.Write(ref PlannedWord.Of(_state.Segment, point.Step), point.Code);
    }

    /// <summary>Whether this is a point for a commit. After the ranks have met there.</summary>
    public bool IsPlanned(TrainingPoint point) => Volatile.Read(ref PlannedWord.Of(_state.Segment, point.Step)) == point.Code;

    /// <summary>Copies this rank's part. After all slices are updated, before the ranks meet to change them again.</summary>
    public void Write(TrainingPoint point, TrainingPosition position)
    {
        var started = _time.GetTimestamp();
        // Those that write none bring theirs too.
        _state.ToHost();
        try
        {
            if (!_isOff)
                WriteHalf(point, position);
        }
        catch (IOException e)
        {
            (_isOff, _isPlanning) = (true, _ranks.WorldSize > _state.Segment.WorldSize); // other hosts may have room
            _reporter.Log(new LogLine { Level = LogLevel.Warning, Message = $"The state of step {position.Step} could not be kept in memory ({e.Message.TrimEnd('.')}), expected room for {_layout.Bytes(hasBest: _bestPlace >= 0) / 1048576.0:N1} MiB. A failure goes back to the last checkpoint. Make /dev/shm larger." });
        }

        // All wait for the rank that has most to copy: its time is the cost.
        _ranks.Barrier();
        // Planned for all: those that could not write go on with the same half as the others.
        _half = 1 - _half;
        _lastTime = _time.GetTimestamp();
        var cost = _time.GetElapsedTime(started, _lastTime);
        // The lesser of two: in the first the runtime compiles this code, and any may have waited for its core.
        _interval = CommitInterval.After(cost < _lastCost ? cost : _lastCost);
        _lastCost = cost;
    }

    private void WriteHalf(TrainingPoint point, TrainingPosition position)
    {
        var (file, rank, slice) = (_file!, _state.Segment.Rank, _state.Slice);
        var attempt = Commit.AttemptOf(_state.Start.AttemptId);
        file.Begin(_half, rank);
        for (var part = 0; part < _layout.Parts; part++)
            WriteFloats(_layout.PartAt(_half, part, slice), (part == 0 ? _state.Parameters : _state.Segment.State(part - 1)) + slice.Start, slice.Count);
        if (_state.IsFirstOfMemory)
        {
            WriteFloats(_layout.BuffersAt(_half), _state.Model.Buffers);
            WriteBest();
            file.Describe(new Commit(_half, point.Code, position.Step, _state.Segment.WorldSize, _bestPlace, attempt, position.ToText()), _layout.MetadataAt(_half));
        }

        file.End(_half, rank, Commit.WordOf(attempt, point.Code));
    }

    // Where the commit before does not have its own.
    private void WriteBest()
    {
        if (_state.Best is not { } best || best == _best)
            return;
        var place = _bestPlace == 0 ? 1 : 0;
        WriteFloats(_layout.BestAt(place), best.Parameters);
        WriteFloats(_layout.BestAt(place) + best.Parameters.LongLength * sizeof(float), best.Buffers);
        (_best, _bestPlace) = (best, place);
    }

    private void WriteFloats(long at, float[] values)
    {
        fixed (float* start = values)
            WriteFloats(at, start, values.LongLength);
    }

    private void WriteFloats(long at, float* values, long count)
    {
        for (var done = 0L; done < count; done += CommitReader.ChunkLength)
            _file!.Write(at + done * sizeof(float), new ReadOnlySpan<byte>(values + done, (int)Math.Min(CommitReader.ChunkLength, count - done) * sizeof(float)));
    }
}
