namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>For what becomes true after an unseen step of the coordinator: asks again, moving the manual clock, a bounded number of times.</summary>
internal static class Eventually
{
    private const int MaxTries = 200;

    public static async Task<T> AdvanceUntilAsync<T>(TestCoordinator coordinator, TimeSpan step, Func<Task<T>> ask, Func<T, bool> holds)
    {
        for (var i = 0; i < MaxTries; i++)
        {
            if (await ask() is var answer && holds(answer))
                return answer;
            coordinator.Time.Advance(step);
        }

        throw new AssertFailedException($"It did not become true in {MaxTries} tries.");
    }

    public static Task<T> UntilAsync<T>(TestCoordinator coordinator, Func<Task<T>> ask, Func<T, bool> holds) =>
        AdvanceUntilAsync(coordinator, TimeSpan.Zero, ask, holds);

    /// <summary>For what a background task does in real time.</summary>
    public static async Task HoldsAsync(Func<bool> holds)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        for (var i = 0; i < 30 * 50; i++)
        {
            if (holds())
                return;
            await timer.WaitForNextTickAsync();
        }

        throw new AssertFailedException("It did not become true within 30 s.");
    }

    /// <summary>Asks until there is an answer: of a server that starts.</summary>
    public static async Task AnsweredAsync(Func<Task> ask)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        for (var i = 0; i < 30 * 50; i++)
        {
            try
            {
                await ask();
                return;
            }
            catch (RpcException e) when (e.StatusCode == StatusCode.Unavailable)
            {
                await timer.WaitForNextTickAsync();
            }
        }

        throw new AssertFailedException("It did not answer within 30 s.");
    }

    public static Task<ClusterSnapshot> WorkerIsAsync(TestCoordinator coordinator, string status, TimeSpan step = default) => AdvanceUntilAsync(
        coordinator, step, () => coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within(), c => c.Workers.Any(w => w.Status == status));
}
