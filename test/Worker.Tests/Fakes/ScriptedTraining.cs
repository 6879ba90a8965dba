using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Training.Commits;
using MLDistributed.Worker.Ranks;

namespace Worker.Tests.Fakes;

/// <summary>What rank processes of these tests run: the job's name is the script, "words for rank 0 | words for the others".</summary>
internal static class ScriptedTraining
{
    /// <summary>While a file of this name is beside the agent's socket, rank processes fail to load.</summary>
    public const string BrokenFile = "broken";

    public static RankEngine Engine { get; } = new(Preload, Run);

    private static RankMeans Preload()
    {
        var socket = Environment.GetCommandLineArgs().SkipWhile(a => a != "--socket").ElementAt(1);
        return File.Exists(Path.Combine(Path.GetDirectoryName(socket)!, BrokenFile))
            ? throw new TypeInitializationException("torch", new DllNotFoundException("Unable to load libtorch_cpu.so"))
            : new RankMeans(HasCuda: false);
    }

    private static RankResult Run(RankStart start, IRankReporter reporter, IRendezvous workers, CancellationToken stop)
    {
        // A stand-in for the rendezvous' segment, so that tests see who removes it.
        if (start.Rank == 0)
            File.WriteAllText(start.SegmentPath, "segment");
        reporter.Started();
        var scripts = start.Spec.Name.Split('|', StringSplitOptions.TrimEntries);
        foreach (var word in scripts[Math.Min(start.Rank, scripts.Length - 1)].Split(' '))
            Do(word, start, reporter, workers, stop);
        if (start.Rank != 0)
            return new RankResult(null, new Dictionary<string, string>());

        var model = scripts[0] == "steal" ? Path.Combine(start.OutputFolder, "..", "..", "..", "worker.json") : Path.Combine(start.OutputFolder, "model.onnx");
        File.WriteAllText(model, $"model from {Path.GetFileName(start.DatasetPath)}");
        return new RankResult(
            new JobResult { WorldSize = start.WorldSize, Steps = 10, TrainingLoss = Environment.ProcessId },
            new Dictionary<string, string> { [ArtifactName.Onnx] = model });
    }

    private static void Do(string word, RankStart start, IRankReporter reporter, IRendezvous workers, CancellationToken stop)
    {
        switch (word)
        {
            case "progress":
                reporter.Progress(new Progress { Step = 1, TotalSteps = 10, Loss = 0.5 });
                reporter.Epoch(new EpochEnded { Epoch = 0, TrainingLoss = 0.5 });
                break;
            case "step7" or "step8":
                using (var steps = CommitFile.Open(start.CommitPath))
                    steps.BeginStep(start.Rank, word[^1] - '0');
                break;
            case "commit9":
                using (var commits = CommitFile.Open(start.CommitPath))
                {
                    var local = start.Rank % 2; // of two on each worker
                    commits.Begin(0, local);
                    if (local == 0)
                        commits.Describe(new Commit(0, 18, 9, WorldSize: 2, BestPlace: -1, Commit.AttemptOf(start.AttemptId), "step 9"), CommitFile.DataAt);
                    commits.End(0, local, Commit.WordOf(Commit.AttemptOf(start.AttemptId), 18));
                }

                goto case "kept";
            case "kept":
                reporter.Log(new LogLine { Message = $"rank {start.Rank} began with step {start.CommitStep}" });
                break;
            case "threads":
                reporter.Log(new LogLine { Message = $"OMP_NUM_THREADS={Environment.GetEnvironmentVariable("OMP_NUM_THREADS")}" });
                break;
            case "checkpoint":
                var path = Path.Combine(start.OutputFolder, "checkpoint-1");
                File.WriteAllText(path, "checkpoint");
                reporter.Checkpoint(path, 1, 10);
                break;
            case "obey":
                SpinWait.SpinUntil(() => reporter.TakeCheckpointRequest() || stop.IsCancellationRequested);
                goto case "checkpoint";
            case "resumed":
                reporter.Log(new LogLine { Message = "resumed from " + File.ReadAllText(start.ResumePath) });
                break;
            case "started":
                reporter.Log(new LogLine { Message = start.StartingModelPath.Length == 0 ? "started from nothing" : "started from " + File.ReadAllText(start.StartingModelPath) });
                break;
            case "wait":   // as a rank in a collective: until stopped
                stop.WaitHandle.WaitOne();
                stop.ThrowIfCancellationRequested();
                break;
            case "gather":
                reporter.Log(new LogLine { Message = "all: " + string.Join(' ', workers.AllGather($"rank{start.Rank}", stop)) });
                break;
            case "aborted":   // until another worker's rank aborts
                Task.WaitAny([workers.Aborted], stop);
                throw new TrainingException(new JobFailure { Kind = FailureKind.Crashed, Rank = start.Rank, Message = $"Rank {workers.Aborted.Result} aborted." }, isBystander: true);
            case "unheard":   // the network has lost another worker
                workers.TellUnheard([new SilentPeer(0, TimeSpan.FromSeconds(5), "10.0.0.1:7300")], isLost: true);
                break;
            case "hang":   // as a rank in native code: whatever it is told
                new ManualResetEventSlim().Wait(CancellationToken.None);
                break;
            case "complain":
                Console.Error.WriteLine("terminate called after throwing an instance of 'c10::Error'");
                break;
            case "shout":
                Console.Error.WriteLine(new string('x', 1 << 20));
                reporter.Log(new LogLine { Message = new string('y', 1 << 20) });
                break;
            case "exit":
                Environment.Exit(3);
                break;
            case "nan":
                throw new TrainingException(new JobFailure { Kind = FailureKind.Training, Rank = start.Rank, Step = 7, Message = "The loss is NaN at step 7." });
            case "bystander":
                throw new TrainingException(new JobFailure { Kind = FailureKind.Crashed, Rank = start.Rank, Message = "A peer is gone." }, isBystander: true);
            case "throw":
                throw new NotSupportedException("no such layer");
        }
    }
}
