using System.Diagnostics;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Tests.Shared;
using MLDistributed.Training;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;
using MLDistributed.Training.Profiling;

namespace MLDistributed.Engine.Bench;

/// <summary>How a job is run.</summary>
[Flags]
internal enum RunMode
{
    /// <summary>As the product runs it, with SGD.</summary>
    Connected = 0,

    /// <summary>Single ranks that do not talk, side by side.</summary>
    Unconnected = 1,

    /// <summary>As unconnected, but all wait for the slowest twice a step.</summary>
    LockStep = 2,

    /// <summary>The rows of two ranks on one.</summary>
    TwiceTheRows = 4,

    /// <summary>Two threads a rank.</summary>
    TwoThreads = 8,

    /// <summary>The same bits on any number of ranks.</summary>
    BitExact = 16,

    /// <summary>Code at random addresses where the product would not have that.</summary>
    RandomAddresses = 32,

    /// <summary>With AdamW, and gradients clipped.</summary>
    AdamW = 64,

    /// <summary>With checkpoints, features scaled and a tenth of the rows held out, as a job of a trainer's default options.</summary>
    Defaults = 128,
}

/// <summary>One rank of a measured job: the product's own engine from the data file on, progress reports included.</summary>
internal static class TrainRank
{
    // The runtime compiles the hot code anew in the job's first two seconds, on a core that a rank is using.
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(2.5);

    // Before what is measured, in which caches fill, and after it, so that nobody has the machine alone towards the end.
    private static readonly TimeSpan s_margin = TimeSpan.FromSeconds(0.25);
    private static readonly TimeSpan s_measured = TimeSpan.FromSeconds(1.5);

    // Checkpoints are at least 2 s apart: three of them, or there is one turn without any beside one with one.
    private static readonly TimeSpan s_measuredWithCheckpoints = TimeSpan.FromSeconds(6.5);
    private static readonly TimeSpan s_silence = TimeSpan.FromMinutes(15);

    /// <summary>
    /// Arguments: model, rank, world size, segment, data file, <see cref="RunMode"/>. A leader (<see cref="Leads"/>) trains
    /// for a while whenever it reads a line, and prints samples/s of those that it leads and in microseconds median and
    /// mean of each <see cref="StepPhase"/>; the others wait for it.
    /// </summary>
    public static int Run(string[] args)
    {
        var model = Model.Named(args[0]);
        var (rank, worldSize, run) = (int.Parse(args[1]), int.Parse(args[2]), args[3]);
        var mode = Enum.Parse<RunMode>(args[5]);
        var isConnected = (mode & (RunMode.Unconnected | RunMode.LockStep)) == 0;
        var rows = model.BatchSize * (mode.HasFlag(RunMode.TwiceTheRows) ? 2 : isConnected ? worldSize : 1);
        RankTraining.Preload();
        using var done = new CancellationTokenSource();
        var profile = Leads(rank, mode) ? new StepProfile() : null;
        // One folder for all ranks of a run: each writes its part of a checkpoint into the same file.
        var output = Directory.CreateDirectory(Path.Combine(Path.GetTempPath(), Path.GetFileName(isConnected ? run : $"{run}-{rank}") + "-out")).FullName;
        var turns = new Turns(mode.HasFlag(RunMode.LockStep) ? worldSize * rows : rows, mode.HasFlag(RunMode.Defaults) ? s_measuredWithCheckpoints : s_measured, profile, done);
        var start = new RankStart
        {
            AttemptId = run,
            Spec = Spec(model, rows, mode),
            Rank = isConnected ? rank : 0,
            WorldSize = isConnected ? worldSize : 1,
            Device = DeviceKind.Cpu,
            SegmentPath = isConnected ? run : $"{run}-{rank}",
            DatasetPath = args[4],
            OutputFolder = output,
        };
        var environment = new TrainingEnvironment
        {
            // Two single ranks beside each other have no core to spare, though each thinks so.
            Prefetch = isConnected ? null : false,
            // The leader is silent while others have their turns.
            PeerTimeout = s_silence,
            Profile = profile,
        };
        if (model.Module is { } module)
            environment = environment with { Module = spec => new TorchModuleSource(module, spec.Seed) };
        using var others = mode.HasFlag(RunMode.LockStep) ? new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = run, Rank = rank, WorldSize = worldSize, Timeout = s_silence })) : null;
        if (others is not null)
            environment = environment with { Module = MeetingOthers(environment.Module ?? (spec => ModuleSources.Of(new RankStart { Spec = spec })), others) };
        if (profile is not null)
            Console.In.ReadLine();
        // On a thread of its own, as in a worker: the C library's allocator treats the main thread otherwise.
        var training = Task.Factory.StartNew(() => Train(start, turns, environment, done.Token), TaskCreationOptions.LongRunning);
        try
        {
            training.GetAwaiter().GetResult();
        }
        finally
        {
            others?.Abort();
            if (start.Rank == 0)
                Directory.Delete(output, recursive: true);
        }

        return 0;
    }

    /// <summary>Whether a rank is told its turns: each one that depends on no other, else the first.</summary>
    public static bool Leads(int rank, RunMode mode) => rank == 0 || mode.HasFlag(RunMode.Unconnected);

    private static Func<JobSpec, IModuleSource> MeetingOthers(Func<JobSpec, IModuleSource> module, ICollective others) => spec => new SourceAround(module(spec), inner => new LockStep(inner, others));

    private static void Train(RankStart start, Turns turns, TrainingEnvironment environment, CancellationToken done)
    {
        try
        {
            new RankSession(start, turns, environment).Run(done);
        }
        catch (OperationCanceledException)
        {
            // The bench is gone.
        }
        catch (Exception e) when (e is CollectiveAbortedException or TrainingException { IsBystander: true })
        {
            // The leader has ended.
        }
    }

    /// <summary>Random rows, as ddp.py makes them.</summary>
    public static void WriteData(Model model, string path)
    {
        var random = new Random(1);
        var features = new FloatArray.Builder();
        var labels = new FloatArray.Builder();
        for (var i = 0; i < model.RowCount; i++)
        {
            for (var j = 0; j < model.Sizes[0]; j++)
                features.Append(model.Vocabulary > 0 ? random.Next(model.Vocabulary) : (float)(random.NextDouble() * 2 - 1));
            labels.Append(random.Next(model.Sizes[^1]));
        }

        var list = new FixedSizeListType(new Field("item", FloatType.Default, false), model.Sizes[0]);
        var schema = new Schema([new Field(DatasetSchema.Features, list, false), new Field(DatasetSchema.Label, FloatType.Default, false)], null);
        using var stream = File.Create(path);
        using var writer = new ArrowFileWriter(stream, schema);
        writer.WriteStart();
        writer.WriteRecordBatch(new RecordBatch(schema, [new FixedSizeListArray(list, model.RowCount, features.Build(), ArrowBuffer.Empty, 0), labels.Build()], model.RowCount));
        writer.WriteEnd();
    }

    private static JobSpec Spec(Model model, int globalBatchSize, RunMode mode) => new()
    {
        Task = MlTask.Multiclass,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = model.Sizes[0], HiddenSizes = { model.Sizes[1..^1] }, OutputSize = model.Sizes[^1] } },
        Data = mode.HasFlag(RunMode.Defaults)
            ? new DataSpec { RowCount = model.RowCount, ValidationFraction = 0.1, Features = Unscaled(model.Sizes[0]) }
            : new DataSpec { RowCount = model.RowCount },
        Optimizer = mode.HasFlag(RunMode.AdamW)
            ? new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 1e-3 }
            : new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.9 }, LearningRate = 0.01 },
        GradientClipNorm = mode.HasFlag(RunMode.AdamW) ? 1 : 0,
        Schedule = new ScheduleSpec(),
        Epochs = int.MaxValue / 1000,
        GlobalBatchSize = globalBatchSize,
        BitExact = mode.HasFlag(RunMode.BitExact) ? new BitExactSpec { MicroBatches = 8 } : null,
        Checkpoint = mode.HasFlag(RunMode.Defaults) ? new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 30, MinIntervalSeconds = 2, KeepLast = 2 } : null,
        Seed = 1,
    };

    // It takes the time of any other scaling, and leaves tokens what they are.
    private static FeatureScaling Unscaled(int features) => new() { Mean = { Enumerable.Repeat(0f, features) }, Scale = { Enumerable.Repeat(1f, features) } };

    // Takes note of a leader's progress, and stops it there between turns.
    private sealed class Turns(int rows, TimeSpan measured, StepProfile? profile, CancellationTokenSource done) : IRankReporter
    {
        private TimeSpan _margin = s_warmUp;
        private long _since = Stopwatch.GetTimestamp();
        private long? _first;
        private string? _result;

        public void Started() { }

        public void Progress(Progress progress)
        {
            var elapsed = Stopwatch.GetElapsedTime(_since);
            if (profile is null || elapsed < (_first is null || _result is not null ? _margin : measured))
                return;
            if (_first is not { } first)
            {
                profile.Clear();
                _first = progress.Step;
            }
            else if (_result is null)
            {
                double[] numbers =
                [
                    (progress.Step - first) * rows / elapsed.TotalSeconds,
                    .. Enum.GetValues<StepPhase>().Select(profile.Of).SelectMany(phase => (double[])[phase.Median, phase.Mean]),
                ];
                (_result, _margin) = (string.Join(' ', numbers), s_margin);
            }
            else
            {
                Console.WriteLine(_result);
                if (Console.In.ReadLine() is null)
                    done.Cancel();
                (_first, _result) = (null, null);
            }

            _since = Stopwatch.GetTimestamp();
        }

        public void Epoch(EpochEnded epoch) { }

        // In the product the agent sends it away.
        public void Checkpoint(string path, int epoch, long step) => File.Delete(path);

        public void Log(LogLine line) => Console.Error.WriteLine(line.Message);
    }
}
