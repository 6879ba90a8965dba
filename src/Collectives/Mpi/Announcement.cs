using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.Mpi;

/// <summary>The head of the first message of an operation, which every rank sends to every other: what it is about to do. Short values follow it.</summary>
[StructLayout(LayoutKind.Sequential, Size = Bytes)]
internal struct Announcement
{
    public const int Bytes = 64;

    public long Number;
    public int Operation;
    public int ElementType;
    public long Length;
    public long Root;

    public readonly bool IsSameAs(in Announcement other) =>
        Number == other.Number && Operation == other.Operation && ElementType == other.ElementType && Length == other.Length && Root == other.Root;

    public override readonly string ToString() => (MpiOperation)Operation == MpiOperation.Barrier ? "Barrier"
        : $"{(MpiOperation)Operation} of {Length} {((TypeCode)ElementType == TypeCode.UInt16 ? nameof(WireType.BFloat16) : ((TypeCode)ElementType).ToString())} values{(Root < 0 ? "" : $" from rank {Root}")}";
}

internal enum MpiOperation { Barrier, AllReduce, ReduceScatter, AllGather, Broadcast }
