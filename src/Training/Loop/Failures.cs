using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;

namespace MLDistributed.Training.Loop;

/// <summary>What an exception means for the job.</summary>
internal static class Failures
{
    public static TrainingException From(Exception exception, int rank)
    {
        var (kind, isBystander) = exception switch
        {
            // A connection that breaks is what another rank's end looks like from here.
            CollectiveAbortedException or CollectiveTimeoutException or CollectiveNetworkException => (FailureKind.Crashed, true),
            HostNetworkException => (FailureKind.Crashed, false), // another worker's may be better
            DamagedCheckpointException => (FailureKind.CheckpointDamaged, false),
            OutOfMemoryException => (FailureKind.Invalid, false),
            _ when NativeMessage.IsOutOfMemory(exception.Message) => (FailureKind.Invalid, false),
            CollectiveException or UserModuleException or FormatException or IOException or UnauthorizedAccessException => (FailureKind.Invalid, false),
            _ => (FailureKind.Training, false),
        };
        var message = exception switch
        {
            OutOfMemoryException => OutOfMemory(rank, exception.Message),
            _ when NativeMessage.IsOutOfMemory(exception.Message) => OutOfMemory(rank, NativeMessage.FirstSentence(exception.Message)),
            UserModuleException => exception.Message,
            _ when kind == FailureKind.Training => $"Training failed on rank {rank}: {exception.GetType().Name}: {NativeMessage.FirstSentence(exception.Message)}",
            IOException or UnauthorizedAccessException => $"Rank {rank} cannot read or write its files ({exception.Message.TrimEnd('.')}), expected room and access in the worker's folder. Free space there, or start the worker with --work on a larger disk.",
            _ => exception.Message,
        };
        var failure = new JobFailure { Kind = kind, Rank = rank, Message = message };
        if (exception is UserModuleException module)
        {
            failure.Step = module.Step;
            failure.LastWords.AddRange(module.Stack);
        }

        return new TrainingException(failure, isBystander, exception);
    }

    private static string OutOfMemory(int rank, string words) =>
        $"Rank {rank} ran out of memory ({words.TrimEnd('.')}), expected room for a step. Make BatchSize or HiddenLayers smaller, set MaxMicroBatchSize, or use fewer ranks (MaxRanks).";
}
