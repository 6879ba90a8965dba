using System.Numerics;
using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Collectives.Hierarchy;

/// <summary>
/// The collective of ranks on several hosts: those of a host meet in its memory, and one of each, its leader, meets the
/// other leaders over the network. A host's values cross the network once, whatever the number of its ranks.
/// </summary>
/// <remarks>
/// Sums are the same bits on all ranks: those of a host in rank order, and the hosts' in theirs. On another topology they
/// may round differently.
/// </remarks>
public sealed class HierarchicalCollective : ICollective
{
    private static readonly TimeSpan s_watchInterval = TimeSpan.FromMilliseconds(20);

    /// <summary>For a wait in a host's memory while its leader is with the others: the leader's own limit ends that, and then the memory is aborted.</summary>
    public static readonly TimeSpan LeaderLimit = TimeSpan.FromHours(1);

    private readonly Topology _topology;
    private readonly int _host;
    private readonly SharedMemoryCollective _local;
    private readonly ICollective? _hosts;
    private readonly Timer? _watch;
    private bool _isInOperation;

    /// <summary>Takes both collectives over: they are disposed with this.</summary>
    /// <param name="topology">Where all ranks are.</param>
    /// <param name="rank">This one.</param>
    /// <param name="local">The ranks of this host.</param>
    /// <param name="hosts">The leaders of all hosts, in the order of these; null on a rank that is none.</param>
    public HierarchicalCollective(Topology topology, int rank, SharedMemoryCollective local, ICollective? hosts)
    {
        (_topology, Rank, _host, _local, _hosts) = (topology, rank, topology.HostOf(rank), local, hosts);
        if (local.Rank != topology.LocalRank(rank) || local.WorldSize != Host.RankCount)
            throw new ArgumentException($"Rank {rank} is {local.Rank} of {local.WorldSize} in its host's memory, expected {topology.LocalRank(rank)} of {Host.RankCount}.", nameof(local));
        if (topology.IsLeader(rank) != hosts is not null || (hosts is not null && (hosts.Rank != _host || hosts.WorldSize != topology.Hosts.Count)))
            throw new ArgumentException($"Rank {rank} is {hosts?.Rank} of {hosts?.WorldSize} leaders, expected {(topology.IsLeader(rank) ? $"{_host} of {topology.Hosts.Count}" : "none")}.", nameof(hosts));
        if (hosts is not null)
            _watch = new Timer(_ => CarryAbort(), null, s_watchInterval, s_watchInterval);
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int WorldSize => _topology.WorldSize;

    /// <inheritdoc/>
    public bool IsAborted => _local.IsAborted || _hosts?.IsAborted == true;

    private TopologyHost Host => _topology.Hosts[_host];

    /// <inheritdoc/>
    public void AllReduce(Span<float> values) => AllReduce(values, WireType.Float32);

    /// <inheritdoc/>
    public void AllReduce(Span<float> values, WireType wire)
    {
        _isInOperation = true;
        _local.AllReduce(values);
        _hosts?.AllReduce(values, wire);
        Publish(values);
    }

    /// <inheritdoc/>
    public void AllReduce(Span<double> values)
    {
        _isInOperation = true;
        _local.AllReduce(values);
        _hosts?.AllReduce(values);
        Publish(values);
    }

    /// <inheritdoc/>
    public void ReduceScatter(ReadOnlySpan<float> values, Span<float> shard)
    {
        var mine = CheckShard(shard.Length, values.Length);
        var sums = values.ToArray();
        AllReduce(sums);
        sums.AsSpan((int)mine.Start, (int)mine.Count).CopyTo(shard);
    }

    /// <inheritdoc/>
    public void ReduceScatter(ReadOnlySpan<double> values, Span<double> shard)
    {
        var mine = CheckShard(shard.Length, values.Length);
        var sums = values.ToArray();
        AllReduce(sums);
        sums.AsSpan((int)mine.Start, (int)mine.Count).CopyTo(shard);
    }

    /// <inheritdoc/>
    public void AllGather(ReadOnlySpan<float> shard, Span<float> values)
    {
        _isInOperation = true;
        shard.CopyTo(values[(int)CheckShard(shard.Length, values.Length).Start..]);
        for (var rank = Host.FirstRank; rank < Host.FirstRank + Host.RankCount; rank++)
            _local.Broadcast(Part(values, rank, 1), _topology.LocalRank(rank));
        for (var host = 0; _hosts is not null && host < _topology.Hosts.Count; host++)
            _hosts.Broadcast(Part(values, _topology.Hosts[host].FirstRank, _topology.Hosts[host].RankCount), host);
        Publish(values);
    }

    /// <inheritdoc/>
    public void AllGather(ReadOnlySpan<double> shard, Span<double> values)
    {
        _isInOperation = true;
        shard.CopyTo(values[(int)CheckShard(shard.Length, values.Length).Start..]);
        for (var rank = Host.FirstRank; rank < Host.FirstRank + Host.RankCount; rank++)
            _local.Broadcast(Part(values, rank, 1), _topology.LocalRank(rank));
        for (var host = 0; _hosts is not null && host < _topology.Hosts.Count; host++)
            _hosts.Broadcast(Part(values, _topology.Hosts[host].FirstRank, _topology.Hosts[host].RankCount), host);
        Publish(values);
    }

    /// <inheritdoc/>
    public void Broadcast(Span<float> values, int root)
    {
        var host = HostOfRoot(root);
        _isInOperation = true;
        if (host == _host)
            _local.Broadcast(values, _topology.LocalRank(root));
        _hosts?.Broadcast(values, host);
        Publish(values);
    }

    /// <inheritdoc/>
    public void Broadcast(Span<double> values, int root)
    {
        var host = HostOfRoot(root);
        _isInOperation = true;
        if (host == _host)
            _local.Broadcast(values, _topology.LocalRank(root));
        _hosts?.Broadcast(values, host);
        Publish(values);
    }

    /// <inheritdoc/>
    public void Barrier()
    {
        _isInOperation = true;
        _local.Barrier();
        _hosts?.Barrier();
        _local.Barrier(LeaderLimit);
        _isInOperation = false;
    }

    /// <inheritdoc/>
    public void Barrier(TimeSpan timeout)
    {
        _isInOperation = true;
        _local.Barrier(timeout);
        _hosts?.Barrier(timeout);
        _local.Barrier(LeaderLimit);
        _isInOperation = false;
    }

    /// <inheritdoc/>
    public void Abort()
    {
        _local.Abort();
        _hosts?.Abort();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // An operation that this rank has left by an exception: others may be in it.
        if (_isInOperation)
            Abort();
        if (_watch is not null)
        {
            using var stopped = new ManualResetEvent(initialState: false);
            if (_watch.Dispose(stopped))
                stopped.WaitOne();
            CarryAbort();
        }

        _hosts?.Dispose();
        _local.Dispose();
    }

    // What the leader has, to this host's others.
    private void Publish(Span<float> values)
    {
        _local.Barrier(LeaderLimit);
        _local.Broadcast(values, 0);
        _isInOperation = false;
    }

    private void Publish(Span<double> values)
    {
        _local.Barrier(LeaderLimit);
        _local.Broadcast(values, 0);
        _isInOperation = false;
    }

    // The leader may wait for one of the two when the other is aborted.
    private void CarryAbort()
    {
        if (_local.IsAborted)
            _hosts!.Abort();
        else if (_hosts!.IsAborted)
            _local.Abort();
    }

    private int HostOfRoot(int root)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(root);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(root, WorldSize);
        return _topology.HostOf(root);
    }

    private Span<T> Part<T>(Span<T> values, int firstRank, int count)
    {
        var (first, last) = (Shard.Of(values.Length, firstRank, WorldSize), Shard.Of(values.Length, firstRank + count - 1, WorldSize));
        return values[(int)first.Start..(int)last.End];
    }

    private Shard CheckShard(int length, int total)
    {
        var mine = Shard.Of(total, Rank, WorldSize);
        if (length == mine.Count)
            return mine;
        Abort();
        throw new ArgumentException($"Shard of rank {Rank} has length {length}, expected {mine.Count} of {total} over {WorldSize} ranks.");
    }
}
