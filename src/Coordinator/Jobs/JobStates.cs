using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Jobs;

internal static class JobStates
{
    public static bool IsFinal(JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;

    /// <summary>Events of which only the latest are kept; states and epochs are all kept.</summary>
    public static bool IsTransient(JobEvent jobEvent) => jobEvent.EventCase is JobEvent.EventOneofCase.Progress or JobEvent.EventOneofCase.Log;
}
