using System.Globalization;
using System.IO.Hashing;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;
using MLDistributed.Training.Models;
using MLDistributed.Training.Weights;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// Writes checkpoints beside the training, which stops for a copy in memory only: each rank writes its slices to one file
/// on a thread of its own; rank 0, once all have, writes the header with the checksums, makes the file durable and gives
/// it its name. One checkpoint at a time; a full disk costs the checkpoint, not the job.
/// </summary>
/// <remarks>
/// Rank 0 decides when. It tells the others through a word of shared memory that they look at after each barrier, and
/// plans no other before all have written: so none can miss it, however slow. Where ranks share no memory, each has all,
/// and rank 0 writes alone.
/// </remarks>
/// <param name="state">What is written.</param>
/// <param name="reporter">Hears of each, on the training thread.</param>
/// <param name="flushProgress">Tells the losses that are not out yet.</param>
/// <param name="time">For the intervals.</param>
/// <param name="waitsForEach">Whether training stands still meanwhile, for tests.</param>
internal sealed unsafe class CheckpointWriter(ITrainedState state, IRankReporter reporter, Action? flushProgress, TimeProvider time, bool waitsForEach) : IDisposable
{
    private static readonly TimeSpan s_pollInterval = TimeSpan.FromMilliseconds(2);

    private readonly CheckpointSpec _spec = state.Spec.Checkpoint ?? new CheckpointSpec();
    private readonly CancellationTokenSource _stop = new();
    private CheckpointShard? _shard;
    private Thread? _thread;
    private Task? _task;
    private long _lastTime = time.GetTimestamp();
    private bool _isPending;

    /// <summary>Words of shared memory: which point is planned; whether the file is open; whether this rank has written (negative: it could not), and its checksums.</summary>
    private enum Word { Planned, Open, Written, FirstChecksum }

    /// <summary>How many of them there are, from the first on.</summary>
    /// <param name="parts">Of a state: each has a checksum.</param>
    public static int WordsOf(int parts) => (int)Word.FirstChecksum + parts;

    /// <summary>Rank 0 decides whether the coming point, at the end of a step or of an epoch, is one for a checkpoint. Before the ranks meet there.</summary>
    /// <param name="point">Where the ranks meet next.</param>
    /// <param name="isWanted">Whether it is the end of an epoch that the job asks for.</param>
    public void Plan(TrainingPoint point, bool isWanted)
    {
        if (!state.IsFirst)
            return;
        CollectFinished(wait: waitsForEach);
        var elapsed = time.GetElapsedTime(_lastTime).TotalSeconds;
        var isDue = !point.IsEndOfEpoch && _spec is { IntervalEpochs: > 0, IntervalSeconds: > 0 } && elapsed >= _spec.IntervalSeconds;
        // One that comes too soon is left out, not put off: short epochs must not spend their time on checkpoints.
        _isPending |= (isWanted && elapsed >= _spec.MinIntervalSeconds) || isDue || (_spec.IntervalEpochs > 0 && reporter.TakeCheckpointRequest());
        if (_isPending && _thread is null)
            Set(Word.Planned, point.Code);
    }

    /// <summary>Whether this is the planned point. After the ranks have met there.</summary>
    public bool IsPlanned(TrainingPoint point) => Get(0, Word.Planned) == point.Code;

    /// <summary>Begins the planned checkpoint. After all slices are updated, before the ranks meet to change them again.</summary>
    public void Begin(TrainingPoint point, TrainingPosition position)
    {
        // Of the checkpoint before: it has written all, and only leaves.
        _thread?.Join();
        (_isPending, _lastTime) = (false, time.GetTimestamp());
        _shard ??= new CheckpointShard(state);
        _shard.Copy();
        var layout = new CheckpointLayout(state, position.History.Count);
        var path = Path.Combine(state.Start.OutputFolder, $"checkpoint-{position.Step:D8}{(point.IsEndOfEpoch ? "" : "-within")}.safetensors");
        var task = new Task(path, point.Code, layout, position.Epoch, position.Step);
        if (state.IsFirst)
            (task.Tensors, task.Buffers, task.Best, task.Metadata) = (layout.Tensors(), [.. state.Model.Buffers], state.Best, new(position.ToMetadata()));
        _task = task;
        _thread = new Thread(() => Write(task)) { Name = "checkpoint", IsBackground = true };
        _thread.Start();
    }

    /// <summary>Waits for a checkpoint that is being written.</summary>
    public void Complete()
    {
        if (state.IsFirst)
            CollectFinished(wait: true);
        else
            _thread?.Join();
    }

    /// <summary>Stops the writing. The segment must still be mapped.</summary>
    public void Dispose()
    {
        _stop.Cancel();
        _thread?.Join();
        _shard?.Dispose();
        _stop.Dispose();
    }

    // On the training thread: the reporter is for it alone.
    private void CollectFinished(bool wait)
    {
        if (_thread is null || (!wait && _thread.IsAlive))
            return;
        _thread.Join();
        _thread = null;
        if (_task!.Failure is not { } failure)
        {
            // What is before the checkpoint is never trained again, so its losses must be out.
            flushProgress?.Invoke();
            reporter.Checkpoint(_task.Path, _task.Epoch, _task.Step);
            return;
        }

        reporter.Log(new LogLine
        {
            Level = LogLevel.Warning,
            Message = $"Checkpoint of step {_task.Step} (epoch {_task.Epoch}) could not be written ({failure}), expected room for {_task.Bytes / 1048576.0:N1} MiB in the worker's folder. " +
                "Training goes on; after a failure it would start from the checkpoint before. Free some space.",
        });
    }

    private void Write(Task task)
    {
        try
        {
            if (state.IsFirst)
                WriteFirst(task);
            else
                WriteOther(task);
        }
        catch (OperationCanceledException)
        {
            // Training has failed: what is not complete is of no use.
            task.Failure = "training has ended";
        }
    }

    private void WriteFirst(Task task)
    {
        SafeFileHandle? file = null;
        try
        {
            var checksums = new List<string>();
            Try(task, () => file = File.OpenHandle(task.PartPath, FileMode.Create, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete));
            Set(Word.Open, task.Failure is null ? task.Code : -task.Code);
            Try(task, () => WriteSlices(task, file!));
            Try(task, () => WriteWhole(task, file!, checksums));
            Set(Word.Written, task.Failure is null ? task.Code : -task.Code);
            for (var rank = 0; rank < state.Segment.WorldSize; rank++)
            {
                if (Await(rank, Word.Written, task.Code) < 0)
                    task.Failure ??= $"rank {rank} could not write its part";
                checksums.AddRange(Enumerable.Range(0, _shard!.Parts).Select(part => Text(task.Layout.PartAt(part, state.Strategy.SliceOf(rank)), state.Strategy.SliceOf(rank).Count * sizeof(float), (ulong)Get(rank, Word.FirstChecksum + part))));
            }

            Try(task, () =>
            {
                task.Metadata![Checkpoint.Checksums] = string.Join(';', checksums);
                var header = SafetensorsHeader.Create(task.Tensors!, task.Metadata, task.Layout.HeaderSize);
                RandomAccess.Write(file!, [header, BitConverter.GetBytes(XxHash3.HashToUInt64(header))], 0);
                RandomAccess.FlushToDisk(file!);
                File.Move(task.PartPath, task.Path, overwrite: true);
            });
        }
        finally
        {
            file?.Dispose();
            RemovePart(task);
        }
    }

    // Half of a checkpoint would keep a full disk full. One that is whole has another name by now.
    private static void RemovePart(Task task)
    {
        try
        {
            File.Delete(task.PartPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            task.Failure ??= e.Message;
        }
    }

    private void WriteOther(Task task)
    {
        var isOpen = Await(0, Word.Open, task.Code) > 0;
        if (isOpen)
        {
            Try(task, () =>
            {
                using var file = File.OpenHandle(task.PartPath, FileMode.Open, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete);
                WriteSlices(task, file);
            });
        }

        Set(Word.Written, isOpen && task.Failure is null ? task.Code : -task.Code);
    }

    private void WriteSlices(Task task, SafeFileHandle file)
    {
        for (var part = 0; part < _shard!.Parts; part++)
            Set(Word.FirstChecksum + part, (long)_shard.Write(file, task.Layout, part, _stop.Token));
    }

    // What rank 0 alone has.
    private void WriteWhole(Task task, SafeFileHandle file, List<string> checksums)
    {
        var at = task.Layout.Buffers;
        foreach (var values in new[] { task.Buffers!, task.Best?.Parameters ?? [], task.Best?.Buffers ?? [] })
        {
            fixed (float* start = values)
            {
                var bytes = values.LongLength * sizeof(float);
                if (bytes > 0)
                    checksums.Add(Text(at, bytes, CheckpointShard.Write(file, at, (byte*)start, bytes, _stop.Token)));
                at += bytes;
            }
        }
    }

    private long Get(int rank, Word word) => Volatile.Read(ref state.Segment.Signal(rank, (int)word));

    private void Set(Word word, long value) => Volatile.Write(ref state.Segment.Signal(state.Segment.Rank, (int)word), value);

    private long Await(int rank, Word word, long code)
    {
        while (true)
        {
            var value = Get(rank, word);
            if (Math.Abs(value) == code)
                return value;
            // Aborted: the other rank may be gone.
            if (state.Segment.IsAborted || _stop.Token.WaitHandle.WaitOne(s_pollInterval))
                throw new OperationCanceledException(_stop.Token);
        }
    }

    private static void Try(Task task, Action write)
    {
        if (task.Failure is not null)
            return;
        try
        {
            write();
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            task.Failure = e.Message;
        }
    }

    private static string Text(long at, long length, ulong checksum) => string.Create(CultureInfo.InvariantCulture, $"{at}:{length}:{checksum:x16}");

    private sealed record Task(string Path, long Code, CheckpointLayout Layout, int Epoch, long Step)
    {
        public string PartPath => Path + ".part";

        public IReadOnlyList<(string Name, long[] Shape)>? Tensors { get; set; }

        public float[]? Buffers { get; set; }

        public ModelWeights? Best { get; set; }

        public Dictionary<string, string>? Metadata { get; set; }

        public long Bytes => Layout.Buffers + sizeof(float) * ((Buffers?.LongLength ?? 0) + (Best?.Parameters.LongLength ?? 0) + (Best?.Buffers.LongLength ?? 0));

        public string? Failure { get; set; }
    }
}

/// <summary>A moment at which all ranks meet: the end of a step, or, after validation, the end of an epoch.</summary>
/// <param name="Step">Steps done.</param>
/// <param name="IsEndOfEpoch">Which of the two.</param>
internal readonly record struct TrainingPoint(long Step, bool IsEndOfEpoch)
{
    /// <summary>A number for each point, above 0 and rising.</summary>
    public long Code => 2 * Step + (IsEndOfEpoch ? 1 : 0);
}
