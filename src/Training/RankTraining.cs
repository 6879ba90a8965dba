using MLDistributed.Protocol;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Native;
using TorchSharp;

namespace MLDistributed.Training;

/// <summary>One rank's part of one attempt of a job.</summary>
public static class RankTraining
{
    /// <summary>Set to 1 in the environment of ranks that share cores; <see cref="Preload"/> looks.</summary>
    public const string SharesCoresVariable = "MLDIST_SHARES_CORES";

    /// <summary>Loads libtorch, so that the first job does not wait for it.</summary>
    public static void Preload()
    {
        if (Environment.GetEnvironmentVariable(SharesCoresVariable) == "1" && LibtorchFolder.Find() is { } folder)
            HugeCode.Prepare(Path.Combine(folder, LibtorchFolder.MainFile));
        NativeLoading.EnsureLoaded();
        torch.InitializeDeviceType(DeviceType.CPU);
    }

    /// <summary>Trains to the end. Blocks the calling thread.</summary>
    /// <param name="start">The job, this rank's place in it, and its files.</param>
    /// <param name="reporter">Hears of progress, on the calling thread.</param>
    /// <param name="stop">Stops this rank and, through the collective, all others.</param>
    /// <exception cref="TrainingException">The training cannot go on; the failure says why.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static RankResult Run(RankStart start, IRankReporter reporter, CancellationToken stop) =>
        new RankSession(start, reporter, new TrainingEnvironment()).Run(stop);
}

/// <summary>Hears what a rank has to say. Rank 0 speaks of progress, epochs and checkpoints; all may log.</summary>
public interface IRankReporter
{
    /// <summary>All ranks have met; training begins.</summary>
    void Started();

    /// <summary>A few times a second.</summary>
    void Progress(Progress progress);

    /// <summary>After every epoch.</summary>
    void Epoch(EpochEnded epoch);

    /// <summary>A checkpoint file is complete at this path; the file before it may be deleted.</summary>
    void Checkpoint(string path, int epoch, long step);

    /// <summary>Something worth saying.</summary>
    void Log(LogLine line);
}

/// <summary>What a rank leaves.</summary>
/// <param name="Result">Rank 0's result, without artifacts; null on the others.</param>
/// <param name="Files">Rank 0's files by <see cref="ArtifactName"/>; empty on the others.</param>
public sealed record RankResult(JobResult? Result, IReadOnlyDictionary<string, string> Files);

/// <summary>The training cannot go on.</summary>
public sealed class TrainingException : Exception
{
    /// <summary>Wraps the failure.</summary>
    /// <param name="failure">What failed, where, and what to do.</param>
    /// <param name="isBystander">This rank was only stopped by another's failure.</param>
    /// <param name="inner">What was thrown.</param>
    public TrainingException(JobFailure failure, bool isBystander = false, Exception? inner = null) : base(failure.Message, inner)
    {
        Failure = failure;
        IsBystander = isBystander;
    }

    /// <summary>What failed.</summary>
    public JobFailure Failure { get; }

    /// <summary>Whether this rank was only stopped by another's failure.</summary>
    public bool IsBystander { get; }
}
