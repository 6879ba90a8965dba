using System.Numerics;

namespace MLDistributed.Collectives.Mpi;

/// <summary>Values on their way to or from one rank: in pieces, in order, some at a time.</summary>
internal sealed unsafe class PieceStream(int peer, int tag, bool isSend, int pieceBytes, byte* ring)
{
    /// <summary>Pieces that MPI has at a time.</summary>
    public const int Window = 4;

    private byte* _start;
    private long _bytes;
    private uint _doneInWindow;
    private int _posted;

    /// <summary>Pieces that have gone or come, counted up to the first that has not.</summary>
    public int Done { get; private set; }

    public int Count { get; private set; }

    public bool IsDone => Done == Count;

    /// <summary>Begins with values that lie at a place; those of a ring go through it, <see cref="Window"/> pieces at a time.</summary>
    public void Begin(byte* start, long bytes)
    {
        _start = start;
        (_bytes, _posted, _doneInWindow, Done) = (bytes, 0, 0, 0);
        Count = (int)((bytes + pieceBytes - 1) / pieceBytes);
    }

    /// <summary>Hands MPI what may go by now.</summary>
    /// <param name="requests">Where to.</param>
    /// <param name="owner">This stream's number there.</param>
    /// <param name="released">Pieces, from the first, whose memory is ready.</param>
    public void Post(RequestSet requests, int owner, int released)
    {
        var end = Math.Min(Math.Min(Count, released), Done + Window);
        for (; _posted < end; _posted++)
        {
            var request = isSend ? NativeMpi.Send(Place(_posted), Bytes(_posted), peer, tag) : NativeMpi.Receive(Place(_posted), Bytes(_posted), peer, tag);
            requests.Add(request, owner, _posted);
        }
    }

    /// <summary>A piece has gone or come.</summary>
    public void Finish(int piece)
    {
        _doneInWindow |= 1u << (piece - Done);
        var more = BitOperations.TrailingZeroCount(~_doneInWindow);
        _doneInWindow >>= more;
        Done += more;
    }

    public byte* Place(int piece) => ring is null ? _start + (long)piece * pieceBytes : ring + piece % Window * pieceBytes;

    public int Bytes(int piece) => (int)Math.Min(pieceBytes, _bytes - (long)piece * pieceBytes);
}
