using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.Mpi;

/// <summary>Requests that MPI works on, and what each was made for. Native memory, which outlives a failure: MPI may still know it.</summary>
internal sealed unsafe class RequestSet(int capacity)
{
    private readonly int* _requests = (int*)NativeMemory.Alloc((nuint)capacity, sizeof(int));
    private readonly int* _places = (int*)NativeMemory.Alloc((nuint)capacity, sizeof(int));
    private readonly (int Owner, int Piece)[] _purposes = new (int, int)[capacity];
    private readonly (int Owner, int Piece)[] _done = new (int, int)[capacity];

    public int Count { get; private set; }

    /// <summary>Whose requests are not done.</summary>
    public IEnumerable<int> Owners => _purposes.Take(Count).Select(p => p.Owner);

    public void Add(int request, int owner, int piece = 0)
    {
        _requests[Count] = request;
        _purposes[Count++] = (owner, piece);
    }

    /// <summary>Lets MPI go on. Never waits.</summary>
    /// <returns>What is done, valid until the next call.</returns>
    public ReadOnlySpan<(int Owner, int Piece)> Test()
    {
        if (Count == 0)
            return [];
        var done = NativeMpi.Test(_requests, Count, _places);
        if (done == 0)
            return [];
        for (var i = 0; i < done; i++)
            _done[i] = _purposes[_places[i]];
        var kept = 0;
        for (var i = 0; i < Count; i++)
        {
            if (_requests[i] == NativeMpi.RequestNull)
                continue;
            (_requests[kept], _purposes[kept]) = (_requests[i], _purposes[i]);
            kept++;
        }

        Count = kept;
        return _done.AsSpan(0, done);
    }
}
