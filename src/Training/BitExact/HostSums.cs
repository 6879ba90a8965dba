using MLDistributed.Collectives;
using MLDistributed.Collectives.Hierarchy;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.BitExact;

/// <summary>
/// What ranks of several hosts add to a <see cref="BitExactUpdate"/>: a host's ranks sum, slice by slice, the nodes of the
/// tree that the host has whole; the leaders send these to one another, and each adds them up by the tree's rest. So the
/// network carries whole nodes and no sum of its own making.
/// </summary>
/// <remarks>A host receives the gradients of every other one, as often as that has nodes: once where all have equally many parts, a power of two.</remarks>
internal sealed unsafe class HostSums
{
    private const int BlockLength = BitExactUpdate.BlockLength;
    private const long LongestPiece = 1 << 18; // floats: 1 MiB of each node on its way

    private readonly SharedMemoryCollective _local;
    private readonly SharedSegment _segment;
    private readonly ICollective? _leaders;
    private readonly int _nodes;
    private readonly int _mostNodes;
    private readonly TreeSum _ofHost;
    private readonly float[] _nodeSums;
    private readonly long _pieceLength;
    private readonly float[] _outgoing = [];
    private readonly float[] _incoming = [];
    private readonly TreeSum? _ofAll;
    private readonly double[] _told;
    private readonly PlannedWord _planned;
    private readonly int _firstPart;

    /// <param name="local">The ranks of this host.</param>
    /// <param name="topology">Where all ranks are.</param>
    /// <param name="host">This host, of the topology's.</param>
    /// <param name="leaders">The leaders of all hosts; null on a rank that is none.</param>
    /// <param name="ranks">The tree as ranks have it.</param>
    /// <param name="parts">Leaves.</param>
    /// <param name="firstPart">This host's first.</param>
    public HostSums(SharedMemoryCollective local, Topology topology, int host, ICollective? leaders, SumTree ranks, int parts, int firstPart)
    {
        (_local, _segment, _leaders, _firstPart) = (local, local.Segment, leaders, firstPart);
        var (hosts, firstRank) = (SumTree.OfHosts(parts, topology), topology.Hosts[host].FirstRank);
        (_nodes, _mostNodes) = (hosts.NodesOf(host).Count, hosts.Slots);
        _ofHost = new TreeSum([.. hosts.NodesOf(host).Select(ranks.ProgramOf)], BlockLength, term => (nint)Slot(term.Holder - firstRank, term.Slot));
        _nodeSums = new float[_nodes * BlockLength];
        _planned = new PlannedWord(_segment, host == 0);
        _told = new double[2 * parts + 1];
        if (leaders is null)
            return;
        // Pieces of one length, of which the last is hardly shorter.
        var pieces = Math.Max(1, (_segment.Length + LongestPiece - 1) / LongestPiece);
        _pieceLength = (_segment.Length + pieces - 1) / pieces;
        _outgoing = new float[_mostNodes * _pieceLength];
        _incoming = GC.AllocateArray<float>(checked((int)(topology.Hosts.Count * _mostNodes * _pieceLength)), pinned: true);
        var first = System.Runtime.InteropServices.Marshal.UnsafeAddrOfPinnedArrayElement(_incoming, 0);
        _ofAll = new TreeSum([hosts.Program], BlockLength, term => first + (nint)(((term.Holder * _mostNodes) + term.Slot) * _pieceLength * sizeof(float)));
    }

    /// <summary>Of all parts of all hosts, in their order: losses and weights by turns, after <see cref="Join"/>.</summary>
    public ReadOnlySpan<double> Told => _segment.Scratch(0)[..(_told.Length - 1)];

    /// <summary>Buffers of gradients a rank for a host's nodes.</summary>
    public static int SlotsOf(int parts, Topology topology) => SumTree.OfHosts(parts, topology).Slots;

    /// <summary>The whole sum, after <see cref="Join"/>.</summary>
    public Span<float> Of(long start, int length) => new(Slot(0, 0) + start, length);

    /// <summary>All ranks of all hosts: their sums become the whole sum, in the memory of each host.</summary>
    /// <param name="step">Which, from 1.</param>
    /// <param name="slice">This rank's, of its host's memory.</param>
    /// <param name="told">The losses and weights of a local rank's parts.</param>
    public void Join(long step, Shard slice, Func<int, ReadOnlySpan<double>> told)
    {
        for (var start = slice.Start; start < slice.End; start += BlockLength)
            SumNodes(start, (int)Math.Min(BlockLength, slice.End - start));
        _local.Barrier();
        if (_leaders is not null)
        {
            Tell(step, told);
            for (var start = 0L; start < _segment.Length; start += _pieceLength)
                Exchange(start, (int)Math.Min(_pieceLength, _segment.Length - start));
        }

        _local.Barrier(HierarchicalCollective.LeaderLimit);
    }

    private float* Slot(int rank, int slot) => _segment.Gradients(rank, BitExactUpdate.Buffer(slot));

    // All of them first: they become the leader's slots, which they are made of.
    private void SumNodes(long start, int length)
    {
        for (var node = 0; node < _nodes; node++)
            _ofHost.Of(node, start, length).CopyTo(_nodeSums.AsSpan(node * BlockLength));
        for (var node = 0; node < _nodes; node++)
            _nodeSums.AsSpan(node * BlockLength, length).CopyTo(new Span<float>(Slot(0, node) + start, length));
    }

    private void Exchange(long start, int length)
    {
        for (var node = 0; node < _nodes; node++)
            new ReadOnlySpan<float>(Slot(0, node) + start, length).CopyTo(_outgoing.AsSpan((int)(node * _pieceLength)));
        _leaders!.AllGather(_outgoing, _incoming);
        for (var at = 0; at < length; at += BlockLength)
        {
            var count = Math.Min(BlockLength, length - at);
            _ofAll!.Of(0, at, count).CopyTo(Of(start + at, count));
        }
    }

    // Zeros of all others: these sums do not round.
    private void Tell(long step, Func<int, ReadOnlySpan<double>> told)
    {
        Array.Clear(_told);
        var next = 2 * _firstPart;
        for (var rank = 0; rank < _segment.WorldSize; rank++)
        {
            told(rank).CopyTo(_told.AsSpan(next));
            next += told(rank).Length;
        }

        _told[^1] = _planned.Told(step);
        _leaders!.AllReduce(_told);
        _planned.Hear(step, _told[^1]);
        _told.AsSpan(0, _told.Length - 1).CopyTo(_segment.Scratch(0));
    }
}
