using System.Collections.Concurrent;
using System.Diagnostics;
using MLDistributed.Protocol;
using MLDistributed.Training;

namespace MLDistributed.Worker.Ranks;

/// <summary>A rank process's side of the conversation: commands come in on one thread, training runs on another.</summary>
internal sealed class RankSession(RankEngine engine, FrameWriter writer, string token)
{
    private const int TrainingStackBytes = 16 << 20;
    private const int MaxStackLines = 8;
    private readonly BlockingCollection<Attempt> _starts = [];
    private static readonly RankEvent Pong = new() { Pong = new RankPong() };
    private volatile Attempt? _current;

    public void Start() => new Thread(TrainForever, TrainingStackBytes) { Name = "training", IsBackground = true }.Start();

    public void Handle(RankCommand command)
    {
        switch (command.CommandCase)
        {
            case RankCommand.CommandOneofCase.Start when _current is { } busy:
                writer.Write(Failed(command.Start, FailureKind.Invalid, $"Rank {command.Start.Rank} was given attempt \"{command.Start.AttemptId}\" while it runs \"{busy.Start.AttemptId}\", expected one at a time."));
                break;
            case RankCommand.CommandOneofCase.Start:
                _starts.Add(_current = new Attempt(command.Start, new RankReporter(command.Start.AttemptId, writer), new RankRendezvous(command.Start, writer)));
                break;
            case RankCommand.CommandOneofCase.Gathered when _current is { } attempt && attempt.Start.AttemptId == command.Gathered.AttemptId:
                attempt.Workers.Take(command.Gathered);
                break;
            case RankCommand.CommandOneofCase.Abort when _current is { } attempt && attempt.Start.AttemptId == command.Abort.AttemptId:
                attempt.Workers.Take(command.Abort);
                break;
            case RankCommand.CommandOneofCase.Stop when _current is { } attempt && attempt.Start.AttemptId == command.Stop.AttemptId:
                attempt.Stop.Cancel();
                break;
            case RankCommand.CommandOneofCase.Checkpoint when _current is { } attempt && attempt.Start.AttemptId == command.Checkpoint.AttemptId:
                attempt.Reporter.RequestCheckpoint();
                break;
            case RankCommand.CommandOneofCase.Ping:
                writer.Write(Pong);
                break;
        }
    }

    /// <summary>What rank 0 made, when the agent is not there to do it.</summary>
    public void RemoveSegment()
    {
        try
        {
            if (_current is { } attempt && attempt.Start.SegmentPath.Length > 0)
                File.Delete(attempt.Start.SegmentPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next agent on the work folder removes it.
        }
    }

    private void TrainForever()
    {
        try
        {
            var started = Stopwatch.GetTimestamp();
            var means = engine.Preload();
            writer.Write(new RankEvent
            {
                Ready = new RankReady { Token = token, ProcessId = Environment.ProcessId, LoadSeconds = Stopwatch.GetElapsedTime(started).TotalSeconds, CudaAvailable = means.HasCuda, Nccl = means.Nccl, NcclFault = means.NcclFault },
            });
            foreach (var attempt in _starts.GetConsumingEnumerable())
            {
                var end = Train(attempt);
                // Free before the agent hears of it: its next command may be the next attempt.
                _current = null;
                writer.Write(end);
            }
        }
        catch (IOException)
        {
            // The agent is gone; the reading side leaves.
        }
        catch (Exception e)
        {
            // Loading failed. The agent shows these words and tries again, ever more slowly.
            var cause = e.GetBaseException();
            Console.Error.WriteLine($"The rank process cannot start: {cause.GetType().Name}: {cause.Message.ReplaceLineEndings(" ")}");
            Environment.Exit(1);
        }
    }

    private RankEvent Train(Attempt attempt)
    {
        var start = attempt.Start;
        try
        {
            var result = engine.Run(start, attempt.Reporter, attempt.Workers, attempt.Stop.Token);
            var finished = new RankFinished { AttemptId = start.AttemptId, Result = result.Result };
            foreach (var (name, path) in result.Files)
                finished.Files[name] = path;
            return new RankEvent { Finished = finished };
        }
        catch (OperationCanceledException) when (attempt.Stop.IsCancellationRequested)
        {
            return new RankEvent { Stopped = new RankStopped { AttemptId = start.AttemptId } };
        }
        catch (TrainingException e)
        {
            return new RankEvent { Failed = new RankFailed { AttemptId = start.AttemptId, Failure = e.Failure, IsBystander = e.IsBystander } };
        }
        catch (Exception e) when (e is not IOException { InnerException: System.Net.Sockets.SocketException })
        {
            var failed = Failed(start, FailureKind.Training, $"Rank {start.Rank} failed with {e.GetType().Name}: {e.Message}");
            failed.Failed.Failure.LastWords.AddRange(e.ToString().Split('\n', MaxStackLines + 1, StringSplitOptions.TrimEntries).Take(MaxStackLines));
            return failed;
        }
    }

    private static RankEvent Failed(RankStart start, FailureKind kind, string message) => new()
    {
        Failed = new RankFailed { AttemptId = start.AttemptId, Failure = new JobFailure { Kind = kind, Rank = start.Rank, Message = message } },
    };

    /// <param name="Start">The job.</param>
    /// <param name="Reporter">Tells the agent.</param>
    /// <param name="Workers">The way to the other workers, should there be any.</param>
    private sealed record Attempt(RankStart Start, RankReporter Reporter, RankRendezvous Workers)
    {
        public CancellationTokenSource Stop { get; } = new();
    }
}
