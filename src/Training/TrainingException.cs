using MLDistributed.Protocol;

namespace MLDistributed.Training;

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
