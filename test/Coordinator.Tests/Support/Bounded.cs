namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>No test waits for ever.</summary>
internal static class Bounded
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static Task<T> Within<T>(this Task<T> task) => task.WaitAsync(Limit);

    public static Task Within(this Task task) => task.WaitAsync(Limit);

    public static Task<T> Within<T>(this AsyncUnaryCall<T> call) => call.ResponseAsync.WaitAsync(Limit);

    /// <summary>Writes to a stream; when the server has answered already, what it said comes with the answer, not here.</summary>
    public static async Task WrittenOrAnswered(Task write)
    {
        try
        {
            await write.Within();
        }
        catch (Exception e) when (e is RpcException or InvalidOperationException or OperationCanceledException)
        {
        }
    }

    public static async Task<RpcException> Fails<T>(this AsyncUnaryCall<T> call, StatusCode code) => await call.ResponseAsync.Fails(code);

    /// <summary>Asserts that a call fails with a code, and returns what it says.</summary>
    public static async Task<RpcException> Fails(this Task call, StatusCode code)
    {
        var error = await Assert.ThrowsExactlyAsync<RpcException>(() => call.Within());
        Assert.AreEqual(code, error.StatusCode, error.Status.Detail);
        return error;
    }
}
