using System.Diagnostics;
using System.Globalization;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;

namespace MLDistributed.Engine.Bench;

/// <summary>One process of ours of the check of a GPU: trains a model on one device until told enough, and prints what it saw.</summary>
internal static class GpuRank
{
    private const int Epochs = 1000;

    /// <summary>
    /// Arguments: model, device (cuda or cpu), precision, data file, folder for checkpoints, checkpoint to go on from or -, and how
    /// long: "SECONDS s" or "STEPS steps". Prints "checkpoint STEP PATH" for each, then "speed SAMPLES_A_SECOND" after so many
    /// seconds behind a warm-up of a third of them, or "losses L1 L2 ..".
    /// </summary>
    public static int Run(string[] args)
    {
        try
        {
            Train(args);
            return 0;
        }
        catch (Exception e) when (e is TrainingException or DllNotFoundException)
        {
            Console.Error.WriteLine(e.GetBaseException().Message);
            return 1;
        }
    }

    private static void Train(string[] args)
    {
        var model = Model.Named(args[0]);
        var isOnGpu = args[1] == "cuda";
        var length = double.Parse(args[6], CultureInfo.InvariantCulture);
        using var done = new CancellationTokenSource();
        var reporter = new Reporter(model.BatchSize, args[7] == "s" ? length : null, args[7] == "steps" ? (long)length : null, done);
        RankTraining.Preload();
        var start = new RankStart
        {
            AttemptId = "gpu-check",
            Spec = Spec(model, Enum.Parse<Precision>(args[2])),
            WorldSize = 1,
            Device = isOnGpu ? DeviceKind.Cuda : DeviceKind.Cpu,
            SegmentPath = Ranks.NewSegment(),
            DatasetPath = args[3],
            OutputFolder = args[4],
            ResumePath = args[5] == "-" ? "" : args[5],
        };
        // With the CPU as the device too, but that of the curves that a device is compared with.
        var environment = new TrainingEnvironment { OnDevice = args[1] != "host" };
        if (model.Module is { } module)
            environment = environment with { Module = spec => new TorchModuleSource(module, spec.Seed) };
        // On a thread of its own, as in a worker.
        Task.Factory.StartNew(() => Train(start, reporter, environment, done.Token), TaskCreationOptions.LongRunning).GetAwaiter().GetResult();
    }

    private static void Train(RankStart start, Reporter reporter, TrainingEnvironment environment, CancellationToken done)
    {
        try
        {
            new RankSession(start, reporter, environment).Run(done);
        }
        catch (OperationCanceledException) when (done.IsCancellationRequested)
        {
            // It has seen enough.
        }
    }

    private static JobSpec Spec(Model model, Precision precision) => new()
    {
        Task = MlTask.Multiclass,
        Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = model.Sizes[0], HiddenSizes = { model.Sizes[1..^1] }, OutputSize = model.Sizes[^1] } },
        Data = new DataSpec(),
        Optimizer = new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.9 }, LearningRate = 0.01 },
        Epochs = Epochs,
        GlobalBatchSize = model.BatchSize,
        Precision = precision,
        Seed = 1,
        Checkpoint = new CheckpointSpec { IntervalEpochs = 1, IntervalSeconds = 1, MinIntervalSeconds = 1, KeepLast = 2 },
    };

    private sealed class Reporter(int rows, double? seconds, long? steps, CancellationTokenSource done) : IRankReporter
    {
        private readonly List<double> _losses = [];
        private long _started;
        private (long Step, long Time)? _warm;

        public void Started() => _started = Stopwatch.GetTimestamp();

        public void Progress(Progress progress)
        {
            _losses.AddRange(progress.Recent.Select(r => r.Loss));
            var now = Stopwatch.GetTimestamp();
            if (seconds is { } length)
                Measure(progress.Step, now, length);
            else if (_losses.Count >= steps && !done.IsCancellationRequested)
                End($"losses {string.Join(' ', _losses.Take((int)steps))}");
        }

        public void Epoch(EpochEnded epoch) { }

        public void Checkpoint(string path, int epoch, long step) => Console.WriteLine($"checkpoint {step} {path}");

        public void Log(LogLine line) => Console.Error.WriteLine(line.Message);

        private void Measure(long step, long now, double length)
        {
            if (_warm is not { } warm)
                _warm = Stopwatch.GetElapsedTime(_started, now).TotalSeconds >= length / 3 ? (step, now) : null;
            else if (Stopwatch.GetElapsedTime(warm.Time, now).TotalSeconds is var elapsed && elapsed >= length && !done.IsCancellationRequested)
                End(string.Create(CultureInfo.InvariantCulture, $"speed {(step - warm.Step) * rows / elapsed}"));
        }

        private void End(string words)
        {
            Console.WriteLine(words);
            done.Cancel();
        }
    }
}
