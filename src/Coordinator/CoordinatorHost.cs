namespace MLDistributed.Coordinator;

/// <summary>Runs the coordinator service.</summary>
public static class CoordinatorHost
{
    /// <summary>Serves until cancelled.</summary>
    public static Task RunAsync(CoordinatorOptions options, CancellationToken cancellation) => throw new NotImplementedException();
}
