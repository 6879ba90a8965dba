using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Loop;

namespace Training.Tests.Loop;

/// <summary>Trains a job on ranks that are threads.</summary>
internal static class Cluster
{
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(60);

    /// <summary>The memory of a rank that has no others.</summary>
    public static SharedSegment Memory(long length, int stateBuffers = 0) => SharedSegment.Join(new SegmentOptions { Path = Path.Combine(Path.GetTempPath(), $"mldist-test-{Guid.NewGuid():N}"), Rank = 0, WorldSize = 1, Length = length, StateBuffers = stateBuffers });

    /// <summary>The collective of a rank that has no others.</summary>
    public static SharedMemoryCollective Alone() => new(Memory(0));

    public static JobSpec Spec(Action<JobSpec>? change = null)
    {
        var spec = new JobSpec
        {
            Name = "test",
            Task = MlTask.Multiclass,
            Module = new ModuleSpec { Mlp = new MlpSpec { InputSize = 5, OutputSize = 3, HiddenSizes = { 16, 12 } } },
            Data = new DataSpec { RowCount = 0 },
            Optimizer = new OptimizerSpec { Sgd = new SgdSpec { Momentum = 0.9 }, LearningRate = 0.05, WeightDecay = 1e-3 },
            Epochs = 3,
            GlobalBatchSize = 32,
            Seed = 11,
        };
        change?.Invoke(spec);
        return spec;
    }

    public static Run Train(JobSpec spec, int worldSize, string dataPath, string? resumePath = null, CancellationToken stop = default, Action<int, Recorder>? onStarted = null, int? missingRank = null, string? validationPath = null, DeviceKind device = DeviceKind.Cpu, Action<string>? prepareOutput = null, Func<(int Rank, TrainingEnvironment Value), TrainingEnvironment>? configure = null, CommitFile? commits = null, string? startPath = null, string? weightsPath = null, Action<RankStart>? prepare = null)
    {
        using var folder = new TempFolder();
        var segment = Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), "mldist-test-" + Guid.NewGuid().ToString("N"));
        var run = new Run(worldSize);
        var commitStep = commits?.NewestStep() ?? 0;
        prepareOutput?.Invoke(Directory.CreateDirectory(folder["out"]).FullName);
        var threads = Enumerable.Range(0, worldSize).Where(r => r != missingRank).Select(rank => new Thread(() =>
        {
            var start = new RankStart
            {
                AttemptId = "attempt",
                Spec = spec,
                Rank = rank,
                WorldSize = worldSize,
                Device = device,
                SegmentPath = segment,
                DatasetPath = dataPath,
                ValidationDatasetPath = validationPath ?? "",
                OutputFolder = folder["out"],
                ResumePath = resumePath ?? "",
                CommitPath = commits?.Path ?? "",
                CommitStep = commitStep,
                StartingModelPath = startPath ?? "",
                StartingWeightsPath = weightsPath ?? "",
            };
            prepare?.Invoke(start);
            var environment = new TrainingEnvironment { ThreadCount = 1, WaitForCheckpoints = true, PeerTimeout = Bound, StartTimeout = missingRank is null ? Bound : TimeSpan.FromMilliseconds(300), WriteOnnx = (_, tensors) => { run.Tensors = tensors; return new ModelProto(); } };
            environment = configure?.Invoke((rank, environment)) ?? environment;
            try
            {
                run.Recorders[rank].OnStarted = onStarted is null ? null : recorder => onStarted(rank, recorder);
                run.Results[rank] = new RankSession(start, run.Recorders[rank], environment).Run(stop);
            }
            catch (Exception e)
            {
                run.Failures[rank] = e;
            }
        })).ToArray();
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            Assert.IsTrue(thread.Join(Bound), "A rank hangs.");
        Assert.IsFalse(File.Exists(segment), "The segment was left behind.");
        run.CopyFiles();
        return run;
    }

    public static Run ShouldSucceed(this Run run)
    {
        foreach (var failure in run.Failures)
            Assert.IsNull(failure, failure?.ToString());
        return run;
    }
}

/// <summary>What a run left.</summary>
internal sealed class Run(int worldSize)
{
    public Recorder[] Recorders { get; } = [.. Enumerable.Range(0, worldSize).Select(_ => new Recorder())];

    public RankResult?[] Results { get; } = new RankResult?[worldSize];

    public Exception?[] Failures { get; } = new Exception?[worldSize];

    public IReadOnlyDictionary<string, float[]> Tensors { get; set; } = new Dictionary<string, float[]>();

    public byte[] Weights { get; private set; } = [];

    public JobResult Result => Results[0]!.Result!;

    public double[] Losses => [.. Recorders[0].Losses.Select(l => l.Loss)];

    public void CopyFiles()
    {
        if (Results[0]?.Files.TryGetValue(ArtifactName.Weights, out var path) == true)
            Weights = File.ReadAllBytes(path);
    }

    public float[] AllWeights() => [.. Tensors.OrderBy(t => t.Key, StringComparer.Ordinal).SelectMany(t => t.Value)];
}

/// <summary>Notes what a rank reports; copies its checkpoints.</summary>
internal sealed class Recorder : IRankReporter
{
    public Action<Recorder>? OnStarted { get; set; }

    public Action<Recorder>? OnEpoch { get; set; }

    /// <summary>Set: a checkpoint is asked for, once.</summary>
    public bool IsCheckpointWanted { get; set; }

    public List<StepLoss> Losses { get; } = [];

    public List<EpochEnded> Epochs { get; } = [];

    public List<(int Epoch, long Step, byte[] Content)> Checkpoints { get; } = [];

    public void Started() => OnStarted?.Invoke(this);

    public bool TakeCheckpointRequest()
    {
        var isWanted = IsCheckpointWanted;
        IsCheckpointWanted = false;
        return isWanted;
    }

    public void Progress(Progress progress) => Losses.AddRange(progress.Recent);

    public void Epoch(EpochEnded epoch)
    {
        Epochs.Add(epoch);
        OnEpoch?.Invoke(this);
    }

    public void Checkpoint(string path, int epoch, long step)
    {
        Assert.IsTrue(Losses.Count == 0 || Losses[^1].Step >= step, "A checkpoint came before the losses of its steps, which no later attempt tells.");
        Checkpoints.Add((epoch, step, File.ReadAllBytes(path)));
    }

    public List<LogLine> Logs { get; } = [];

    // The test program's own threads make garbage too, which ranks cannot tell from a step's.
    public void Log(LogLine line)
    {
        if (!line.Message.StartsWith("Garbage was collected", StringComparison.Ordinal))
            Logs.Add(line);
    }
}
