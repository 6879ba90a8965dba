using System.Diagnostics;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using Apache.Arrow.Types;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;

namespace MLDistributed.Engine.Bench;

/// <summary>How a job is run.</summary>
internal enum RunMode
{
    /// <summary>As the product runs it.</summary>
    Connected,

    /// <summary>Single ranks that do not talk, side by side.</summary>
    Unconnected,

    /// <summary>One rank with two threads and twice the rows.</summary>
    TwoThreads,

    /// <summary>The same bits on any number of ranks.</summary>
    BitExact,

    /// <summary>Connected, and code at random addresses where the product would not have that.</summary>
    RandomAddresses,
}

/// <summary>One rank of a measured job: the product's own engine from the data file on, progress reports included.</summary>
internal static class TrainRank
{
    private const int RowCount = 4096;

    // The runtime compiles the hot code anew in the job's first two seconds, on a core that a rank is using.
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(2.5);
    private static readonly TimeSpan s_measured = TimeSpan.FromSeconds(2.5);

    /// <summary>Arguments: model, rank, world size, segment, data file, <see cref="RunMode"/>, and "profile", "steps", "memory" or nothing. Prints samples/s of all ranks (rank 0, the others 0), with "memory" this rank's in bytes (else 0), and microseconds: median and mean of each <see cref="StepPhase"/>, or with "steps" those of each step.</summary>
    public static int Run(string[] args)
    {
        var model = Model.Named(args[0]);
        var (rank, worldSize) = (int.Parse(args[1]), int.Parse(args[2]));
        var mode = Enum.Parse<RunMode>(args[5]);
        var rows = model.BatchSize * (mode == RunMode.TwoThreads ? 2 : worldSize);
        RankTraining.Preload();
        using var done = new CancellationTokenSource();
        var meter = new Meter(rows, done);
        // Looking costs milliseconds of a core that a rank is using: not while its speed is measured.
        using var memory = args is [.., "memory"] ? new MemorySampler() : null;
        Console.WriteLine("ready");
        Console.In.ReadToEnd();
        var start = new RankStart
        {
            AttemptId = args[3],
            Spec = Spec(model, rows, mode),
            Rank = rank,
            WorldSize = worldSize,
            Device = DeviceKind.Cpu,
            SegmentPath = args[3],
            DatasetPath = args[4],
            OutputFolder = Path.GetTempPath(),
        };
        // Two single ranks beside each other have no core to spare, though each thinks so.
        var environment = new TrainingEnvironment { Prefetch = mode == RunMode.Unconnected ? false : null, Profile = args is [.., "profile" or "steps"] ? new StepProfile() : null };
        if (model.Module is { } module)
            environment = environment with { Module = spec => new TorchModuleSource(module, spec.Seed) };
        // On a thread of its own, as in a worker: the C library's allocator treats the main thread otherwise.
        var training = Task.Factory.StartNew(() => Train(start, meter, environment, done.Token), TaskCreationOptions.LongRunning);
        training.GetAwaiter().GetResult();
        var times = args is [.., "steps"] ? environment.Profile!.Steps().Select(time => $" {time}")
            : Enum.GetValues<StepPhase>().Select(phase => environment.Profile?.Of(phase) ?? default).Select(time => $" {time.Median} {time.Mean}");
        Console.WriteLine($"{meter.SamplesPerSecond} {memory?.MedianBytes ?? 0}{string.Concat(times)}");
        return 0;
    }

    private static void Train(RankStart start, Meter meter, TrainingEnvironment environment, CancellationToken done)
    {
        try
        {
            new RankSession(start, meter, environment).Run(done);
        }
        catch (OperationCanceledException)
        {
            // Measured for long enough.
        }
        catch (TrainingException e) when (e.IsBystander)
        {
            // Rank 0 has.
        }
    }

    /// <summary>Random rows, as ddp.py makes them.</summary>
    public static void WriteData(Model model, string path)
    {
        var random = new Random(1);
        var features = new FloatArray.Builder();
        var labels = new FloatArray.Builder();
        for (var i = 0; i < RowCount; i++)
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
        writer.WriteRecordBatch(new RecordBatch(schema, [new FixedSizeListArray(list, RowCount, features.Build(), ArrowBuffer.Empty, 0), labels.Build()], RowCount));
        writer.WriteEnd();
    }

    private static JobSpec Spec(Model model, int globalBatchSize, RunMode mode) => new()
    {
        Task = MlTask.Multiclass,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = model.Sizes[0], HiddenSizes = { model.Sizes[1..^1] }, OutputSize = model.Sizes[^1] } },
        Data = new DataSpec { RowCount = RowCount },
        Optimizer = model.Name == "deep"
            ? new OptimizerSpec { Adamw = new AdamWSpec { Beta1 = 0.9, Beta2 = 0.999, Epsilon = 1e-8 }, LearningRate = 1e-3 }
            : new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.9 }, LearningRate = 0.01 },
        Schedule = new ScheduleSpec(),
        Epochs = int.MaxValue / 1000,
        GlobalBatchSize = globalBatchSize,
        BitExact = mode == RunMode.BitExact ? new BitExactSpec { MicroBatches = 8 } : null,
        Seed = 1,
    };

    private sealed class Meter(int globalBatchSize, CancellationTokenSource done) : IRankReporter
    {
        private readonly Stopwatch _watch = new();
        private (TimeSpan At, long Step)? _first;

        public double SamplesPerSecond { get; private set; }

        public void Started() => _watch.Start();

        public void Progress(Progress progress)
        {
            var now = _watch.Elapsed;
            if (_first is not { } first)
            {
                _first = now >= s_warmUp ? (now, progress.Step) : null;
                return;
            }

            SamplesPerSecond = (progress.Step - first.Step) * globalBatchSize / (now - first.At).TotalSeconds;
            if (now - first.At >= s_measured)
                done.Cancel();
        }

        public void Epoch(EpochEnded epoch) { }

        public void Checkpoint(string path, int epoch, long step) { }

        public void Log(LogLine line) => Console.Error.WriteLine(line.Message);
    }
}
