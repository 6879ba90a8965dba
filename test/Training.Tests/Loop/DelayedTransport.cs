using MLDistributed.Collectives;

namespace Training.Tests.Loop;

/// <summary>A collective as slow as a network, that fails when it is told to.</summary>
internal sealed class DelayedTransport(ICollective inner, TimeSpan delay) : ICollective
{
    private readonly ManualResetEventSlim _never = new();

    /// <summary>Called before an all-reduce, with how many there have been.</summary>
    public Action<int>? OnAllReduce { get; init; }

    public int Count { get; private set; }

    public bool IsDisposed { get; private set; }

    public int Rank => inner.Rank;

    public int WorldSize => inner.WorldSize;

    public bool IsAborted => inner.IsAborted;

    public void AllReduce(Span<float> values)
    {
        OnAllReduce?.Invoke(Count++);
        _never.Wait(delay);
        inner.AllReduce(values);
    }

    public void AllReduce(Span<double> values) => inner.AllReduce(values);

    public void ReduceScatter(ReadOnlySpan<float> values, Span<float> shard) => inner.ReduceScatter(values, shard);

    public void ReduceScatter(ReadOnlySpan<double> values, Span<double> shard) => inner.ReduceScatter(values, shard);

    public void AllGather(ReadOnlySpan<float> shard, Span<float> values) => inner.AllGather(shard, values);

    public void AllGather(ReadOnlySpan<double> shard, Span<double> values) => inner.AllGather(shard, values);

    public void Broadcast(Span<float> values, int root) => inner.Broadcast(values, root);

    public void Broadcast(Span<double> values, int root) => inner.Broadcast(values, root);

    public void Barrier() => inner.Barrier();

    public void Barrier(TimeSpan timeout) => inner.Barrier(timeout);

    public void Abort() => inner.Abort();

    public void Dispose()
    {
        IsDisposed = true;
        inner.Dispose();
        _never.Dispose();
    }
}
