using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>The first page of a segment. Words that different ranks write are on cache lines of their own.</summary>
[StructLayout(LayoutKind.Explicit, Size = Bytes)]
internal struct SegmentHeader
{
    public const int Bytes = 4096;
    public const long ExpectedMagic = 0x3147455344_4c4d; // "MLDSEG1"
    public const int CurrentVersion = 4;

    /// <summary>Written last: whoever sees it sees the rest.</summary>
    [FieldOffset(0)] public long Magic;
    [FieldOffset(8)] public int Version;
    [FieldOffset(12)] public int WorldSize;
    [FieldOffset(16)] public long Length;
    [FieldOffset(24)] public long StagingBytes;
    [FieldOffset(32)] public long Generation;
    [FieldOffset(40)] public int GradientBuffers;
    [FieldOffset(44)] public int StateBuffers;
    [FieldOffset(48)] public long MarkCount;

    [FieldOffset(128)] public int Arrived;
    [FieldOffset(256)] public int Phase;
    [FieldOffset(384)] public int Sleepers;

    /// <summary>0, or 1 + the rank that aborted.</summary>
    [FieldOffset(512)] public int Aborted;
}

/// <summary>What a rank tells the others beside its data.</summary>
[StructLayout(LayoutKind.Explicit, Size = Bytes)]
internal struct RankSlot
{
    public const int Bytes = 192;

    [FieldOffset(0)] public int Joined;

    /// <summary>The barrier that the rank came to last, counted from 1.</summary>
    [FieldOffset(4)] public int Arrivals;
    [FieldOffset(8)] public int Operation;
    [FieldOffset(12)] public int ElementType;
    [FieldOffset(16)] public long Length;

    /// <summary>Broadcast: the root. Sums: where in the gradients the values lie. Otherwise -1.</summary>
    [FieldOffset(24)] public long Place;

    /// <summary>The last barrier, counted from 1, before which somebody took on what the rank has to do.</summary>
    [FieldOffset(32)] public int Taken;

    /// <summary>Who did.</summary>
    [FieldOffset(36)] public int TakenBy;

    /// <summary>The first of <see cref="SharedSegment.SignalCount"/> words for whoever uses the segment.</summary>
    [FieldOffset(64)] public long Signals;

    public readonly unsafe bool IsSameOperation(RankSlot* other) =>
        Operation == other->Operation && ElementType == other->ElementType && Length == other->Length && Place == other->Place;
}
