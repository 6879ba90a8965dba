namespace MLDistributed.Coordinator.Tests.Support;

/// <summary>A client that watches a job.</summary>
internal sealed class JobWatch : IDisposable
{
    private readonly AsyncServerStreamingCall<JobEvent> _call;

    public JobWatch(TestCoordinator coordinator, string jobId, long after = 0) =>
        _call = coordinator.Jobs.WatchJob(new WatchJobRequest { JobId = jobId, AfterSequence = after });

    public List<JobEvent> Seen { get; } = [];

    public IEnumerable<JobState> States => Seen.Where(e => e.State is not null).Select(e => e.State.State);

    public async Task<JobEvent> NextAsync()
    {
        Assert.IsTrue(await _call.ResponseStream.MoveNext(CancellationToken.None).Within(), "The watch ended.");
        Seen.Add(_call.ResponseStream.Current);
        return _call.ResponseStream.Current;
    }

    public async Task<JobEvent> UntilAsync(JobState state, string? reason = null)
    {
        while (true)
            if (await NextAsync() is { State: { } changed } e && changed.State == state && (reason is null || changed.Reason.Contains(reason, StringComparison.Ordinal)))
                return e;
    }

    public async Task UntilLogAsync(string message)
    {
        while ((await NextAsync()).Log?.Message != message)
        {
        }
    }

    public async Task<JobEvent> ToEndAsync()
    {
        while (await _call.ResponseStream.MoveNext(CancellationToken.None).Within())
            Seen.Add(_call.ResponseStream.Current);
        return Seen[^1];
    }

    public void Dispose() => _call.Dispose();
}
