using System.Diagnostics;

namespace MLDistributed.Collectives.Nccl;

/// <summary>
/// Ranks that NCCL joins, each with a device of its own: what they queue on streams, they do together. Nothing blocks in NCCL, which
/// never tells of a rank that is gone; <see cref="Abort"/> ends what is queued, from any thread.
/// </summary>
public sealed class NcclCommunicator : IDisposable
{
    private static readonly TimeSpan s_leaveLimit = TimeSpan.FromSeconds(5);

    private readonly Lock _lock = new();
    private readonly NcclLibrary _nccl;
    private readonly Func<bool> _isStopped;
    private readonly TimeSpan _timeout;
    private readonly int _rank;
    private nint _handle;

    private NcclCommunicator(NcclLibrary nccl, nint handle, int rank, TimeSpan timeout, Func<bool> isStopped) => (_nccl, _handle, _rank, _timeout, _isStopped) = (nccl, handle, rank, timeout, isStopped);

    /// <summary>Meets the other ranks. The calling thread's device becomes the rank's.</summary>
    /// <param name="nccl">The library.</param>
    /// <param name="id">Of this communicator: what rank 0 has from <see cref="NcclLibrary.NewId"/>.</param>
    /// <param name="rank">This one, from 0.</param>
    /// <param name="worldSize">How many there are.</param>
    /// <param name="timeout">For the others to come, now and whenever a call is not done at once.</param>
    /// <param name="isStopped">Whether the ranks are to give up: looked at while waiting.</param>
    /// <exception cref="CollectiveTimeoutException">Not all came in time.</exception>
    /// <exception cref="CollectiveAbortedException">They are to give up.</exception>
    /// <exception cref="CollectiveNetworkException">NCCL has an error.</exception>
    public static NcclCommunicator Join(NcclLibrary nccl, ReadOnlySpan<byte> id, int rank, int worldSize, TimeSpan timeout, Func<bool> isStopped)
    {
        ArgumentNullException.ThrowIfNull(nccl);
        var result = nccl.InitRank(out var handle, worldSize, id, rank);
        if (result is not (NcclLibrary.Success or NcclLibrary.InProgress))
            throw new CollectiveNetworkException($"ncclCommInitRankConfig gave {nccl.Describe(result)} on rank {rank}. {NcclLibrary.WithoutIt}");
        var communicator = new NcclCommunicator(nccl, handle, rank, timeout, isStopped);
        try
        {
            communicator.Settle($"rank {rank} of {worldSize} to meet the others", timeout);
            return communicator;
        }
        catch
        {
            communicator.Abort();
            throw;
        }
    }

    /// <summary>Queues the sum over all ranks of float32 values, in their place: the same bits on all.</summary>
    /// <param name="values">Where they are, in memory of the device.</param>
    /// <param name="count">As many on every rank.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="CollectiveException">As <see cref="Join"/>.</exception>
    public void AllReduce(nint values, long count, nint stream) =>
        Queue("ncclAllReduce", communicator => _nccl.AllReduce(values, count, communicator, stream));

    /// <summary>Queues the sum over all ranks of float32 values, of which each rank gets its part, in its place; the rest is left without meaning.</summary>
    /// <param name="values">A part for each rank, in their order, in memory of the device.</param>
    /// <param name="count">Of a part, as many on every rank.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="CollectiveException">As <see cref="Join"/>.</exception>
    public void ReduceScatter(nint values, long count, nint stream) =>
        Queue("ncclReduceScatter", communicator => _nccl.ReduceScatter(values, Part(values, count), count, communicator, stream));

    /// <summary>Queues that all ranks get every rank's part, in its place.</summary>
    /// <param name="values">As <see cref="ReduceScatter"/> has it, of which this rank has its part.</param>
    /// <param name="count">Of a part, as many on every rank.</param>
    /// <param name="stream">Where it is queued.</param>
    /// <exception cref="CollectiveException">As <see cref="Join"/>.</exception>
    public void AllGather(nint values, long count, nint stream) =>
        Queue("ncclAllGather", communicator => _nccl.AllGather(Part(values, count), values, count, communicator, stream));

    /// <summary>What NCCL has found out by itself, such as a rank that has gone; null: nothing.</summary>
    public string? Error()
    {
        lock (_lock)
        {
            if (_handle == 0)
                return null;
            var result = _nccl.GetAsyncError(_handle, out var state);
            var worst = result != NcclLibrary.Success ? result : state;
            return worst is NcclLibrary.Success or NcclLibrary.InProgress ? null : _nccl.Describe(worst, _handle);
        }
    }

    /// <summary>Ends what is queued, wherever it is, and leaves. From any thread; idempotent.</summary>
    public void Abort()
    {
        lock (_lock)
        {
            if (_handle == 0)
                return;
            _ = _nccl.Abort(_handle);
            _handle = 0;
        }
    }

    /// <summary>Leaves in good order, once nothing is queued any more on any rank.</summary>
    public void Dispose()
    {
        try
        {
            int result;
            lock (_lock)
            {
                if (_handle == 0)
                    return;
                result = _nccl.Finalize(_handle);
            }

            if (result == NcclLibrary.InProgress)
                Settle("the others to leave", s_leaveLimit);
            lock (_lock)
            {
                if (_handle != 0 && result is NcclLibrary.Success or NcclLibrary.InProgress)
                {
                    _ = _nccl.Destroy(_handle);
                    _handle = 0;
                }
            }
        }
        catch (CollectiveException)
        {
            // A rank that does not leave. This one does.
        }

        Abort();
    }

    private nint Part(nint values, long count) => values + (nint)(_rank * count * sizeof(float));

    private void Queue(string name, Func<nint, int> call)
    {
        int result;
        lock (_lock)
            result = call(Handle);
        // The first call connects the ranks.
        if (result == NcclLibrary.InProgress)
            Settle($"{name} to be queued", _timeout);
        else if (result != NcclLibrary.Success)
            throw new CollectiveNetworkException($"{name} gave {Described(result)}.");
    }

    private nint Handle => _handle != 0 ? _handle : throw new CollectiveAbortedException("The ranks' communicator was aborted.");

    private string Described(int result)
    {
        lock (_lock)
            return _nccl.Describe(result, _handle);
    }

    // Other calls may not be made meanwhile, but an abort may: the lock is not held between looks.
    private void Settle(string what, TimeSpan timeout)
    {
        var began = Stopwatch.GetTimestamp();
        using var pause = new ManualResetEventSlim(initialState: false, spinCount: 0);
        while (true)
        {
            int result, state;
            lock (_lock)
                result = _nccl.GetAsyncError(Handle, out state);
            if (result != NcclLibrary.Success || state is not (NcclLibrary.Success or NcclLibrary.InProgress))
                throw new CollectiveNetworkException($"NCCL has {Described(result != NcclLibrary.Success ? result : state)}, expected {what}. {NcclLibrary.WithoutIt}");
            if (state == NcclLibrary.Success)
                return;
            if (_isStopped())
                throw new CollectiveAbortedException($"NCCL waited for {what}, and another rank aborted.");
            if (Stopwatch.GetElapsedTime(began) >= timeout)
                throw new CollectiveTimeoutException($"NCCL waited {timeout.TotalSeconds:0.###} s for {what}, expected all to come. See why they stopped or hang.");
            pause.Wait(millisecondsTimeout: 1);
        }
    }
}
