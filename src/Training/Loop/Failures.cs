using MLDistributed.Collectives;
using MLDistributed.Protocol;

namespace MLDistributed.Training.Loop;

/// <summary>What an exception means for the job.</summary>
internal static class Failures
{
    public static TrainingException From(Exception exception, int rank)
    {
        var (kind, isBystander) = exception switch
        {
            CollectiveAbortedException or CollectiveTimeoutException => (FailureKind.Crashed, true),
            CollectiveException or FormatException or IOException or UnauthorizedAccessException => (FailureKind.Invalid, false),
            _ => (FailureKind.Training, false),
        };
        var message = kind == FailureKind.Training ? $"Training failed on rank {rank}: {exception.GetType().Name}: {exception.Message}" : exception.Message;
        return new TrainingException(new JobFailure { Kind = kind, Rank = rank, Message = message }, isBystander, exception);
    }
}
