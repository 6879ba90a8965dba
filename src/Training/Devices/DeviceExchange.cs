using System.Diagnostics;
using System.Runtime.ExceptionServices;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Native.Cuda;

namespace MLDistributed.Training.Devices;

/// <summary>
/// Sums over the devices of several ranks, and what those of a host give one another, on a stream of their own beside what is computed. A thread watches them: a device
/// waits for a rank that is gone for ever, and whoever waits for the device with it, until the ranks' communicator is aborted.
/// </summary>
internal sealed class DeviceExchange : IDisposable
{
    private const nint Computing = 0; // libtorch's stream

    private static readonly TimeSpan s_lookInterval = TimeSpan.FromMilliseconds(5);

    private readonly ICudaRuntime _cuda;
    private readonly NcclCommunicator _ranks;
    private readonly NcclCommunicator _hostRanks;
    private readonly SharedMemoryCollective _host;
    private readonly ICollective _all;
    private readonly int _index;
    private readonly TimeSpan _timeout;
    private readonly ManualResetEventSlim _leaves = new(initialState: false, spinCount: 0);
    private readonly Lock _lock = new();
    private readonly Queue<nint> _queued = new();
    private readonly Stack<nint> _free = new();
    private readonly Thread _watch;
    private readonly nint _stream;
    private readonly nint _ready;
    private long _since;
    private Exception? _failure;
    private bool _isComplete;
    private bool _disposed;

    /// <param name="cuda">CUDA's runtime.</param>
    /// <param name="ranks">Who sums; disposed with this.</param>
    /// <param name="hostRanks">Those of this host, disposed too; where all are on it, <paramref name="ranks"/>.</param>
    /// <param name="host">Those of this host in its memory, which is aborted with this, and the other way round.</param>
    /// <param name="all">The same ranks as NCCL's; where they are on one host, <paramref name="host"/>.</param>
    /// <param name="index">This rank's device.</param>
    /// <param name="timeout">How long a step's sums may take, from when those before are done.</param>
    /// <exception cref="CudaException">CUDA refuses.</exception>
    public DeviceExchange(ICudaRuntime cuda, NcclCommunicator ranks, NcclCommunicator hostRanks, SharedMemoryCollective host, ICollective all, int index, TimeSpan timeout)
    {
        (_cuda, _ranks, _hostRanks, _host, _all, _index, _timeout) = (cuda, ranks, hostRanks, host, all, index, timeout);
        Check(cuda.SetDevice(index), "cudaSetDevice");
        Check(cuda.CreateStream(out _stream), "cudaStreamCreateWithFlags");
        Check(cuda.CreateEvent(out _ready), "cudaEventCreateWithFlags");
        _watch = new Thread(Watch) { IsBackground = true, Name = "nccl" };
        _watch.Start();
    }

    /// <summary>What has ended the sums; null: nothing.</summary>
    public Exception? Failure => Volatile.Read(ref _failure);

    /// <summary>Queues the sum of values behind what is computed by now. Throws nothing: what fails is told by <see cref="ThrowIfFailed"/>.</summary>
    /// <param name="values">Float32, in the device's memory; nothing reads or writes them before <see cref="Join"/>.</param>
    /// <param name="count">As many on every rank.</param>
    public void AllReduce(nint values, long count) => Queue(() => _ranks.AllReduce(values, count, _stream));

    /// <summary><see cref="AllReduce"/> over the ranks of this host, each of which gets its part; the rest is left without meaning.</summary>
    /// <param name="values">A part for each rank, in their order.</param>
    /// <param name="count">Of a part, as many on every rank.</param>
    public void ReduceScatter(nint values, long count) => Queue(() => _hostRanks.ReduceScatter(values, count, _stream));

    /// <summary>Queues that the ranks of this host get one another's parts, behind what is computed by now. As <see cref="AllReduce"/>.</summary>
    /// <param name="values">A part of each rank, in their order.</param>
    /// <param name="count">Of a part, as many on every rank.</param>
    public void AllGather(nint values, long count) => Queue(() => _hostRanks.AllGather(values, count, _stream));

    /// <summary>What is computed from now on waits for the sums that are queued.</summary>
    public void Join()
    {
        ThrowIfFailed();
        nint done;
        lock (_lock)
        {
            if (!_free.TryPop(out done))
                Check(_cuda.CreateEvent(out done), "cudaEventCreateWithFlags");
            Check(_cuda.RecordEvent(done, _stream), "cudaEventRecord");
            if (_queued.Count == 0)
                _since = Stopwatch.GetTimestamp();
            _queued.Enqueue(done);
        }

        Check(_cuda.WaitForEvent(Computing, done), "cudaStreamWaitEvent");
    }

    /// <summary>After a wait for the device, whose numbers are sums only if nothing has failed.</summary>
    /// <exception cref="CollectiveException">A rank is gone or aborted, or NCCL has an error.</exception>
    /// <exception cref="CudaException">CUDA has one.</exception>
    public void ThrowIfFailed()
    {
        if (Failure is null && Error() is { } error)
            Fail(Described(error));
        if (Failure is { } failure)
            ExceptionDispatchInfo.Throw(failure);
    }

    /// <summary>All ranks are done: they leave NCCL in order, which each of them waits for.</summary>
    public void Complete() => _isComplete = true;

    public void Dispose()
    {
        if (_disposed)
            return;
        _disposed = true;
        _leaves.Set();
        _watch.Join();
        // A rank that ends before its work is done must not wait for the others; and what is queued may be for one that does not come.
        if (!_isComplete || Failure is not null || _all.IsAborted || !IsIdle())
            Abort();
        _hostRanks.Dispose();
        _ranks.Dispose();
        foreach (var place in (nint[])[.. _queued, .. _free, _ready])
            _ = _cuda.DestroyEvent(place);
        _ = _cuda.DestroyStream(_stream);
        _leaves.Dispose();
    }

    private static CollectiveNetworkException Described(string error) => new($"NCCL has {error}, expected all ranks to go on. See why one of them stopped, and NCCL's own words (NCCL_DEBUG=WARN) in its log.");

    private void Watch()
    {
        _ = _cuda.SetDevice(_index);
        while (Failure is null && !_leaves.Wait(s_lookInterval))
        {
            try
            {
                _host.ThrowIfAborted();
                if (Error() is { } error)
                    throw Described(error);
                if (!IsIdle() && Stopwatch.GetElapsedTime(_since) >= _timeout)
                    throw new CollectiveTimeoutException($"A step's sums over devices are not done after {_timeout.TotalSeconds:0.###} s on rank {_all.Rank}, expected all {_all.WorldSize} ranks to bring theirs. See why they stopped or hang.");
            }
            catch (CollectiveException e)
            {
                Fail(e);
            }
        }
    }

    // Nobody may wait for what will not come: neither a device, nor a rank on a host.
    private void Fail(Exception failure)
    {
        if (Interlocked.CompareExchange(ref _failure, failure, null) is not null)
            return;
        Abort();
        _all.Abort();
    }

    private string? Error() => _ranks.Error() ?? _hostRanks.Error();

    private void Abort()
    {
        _ranks.Abort();
        _hostRanks.Abort();
    }

    private void Queue(Action exchange)
    {
        if (Failure is not null)
            return;
        try
        {
            Check(_cuda.RecordEvent(_ready, Computing), "cudaEventRecord");
            Check(_cuda.WaitForEvent(_stream, _ready), "cudaStreamWaitEvent");
            exchange();
        }
        catch (Exception e) when (e is CudaException or CollectiveException)
        {
            Fail(e);
        }
    }

    // Forgets what is done.
    private bool IsIdle()
    {
        lock (_lock)
        {
            while (_queued.TryPeek(out var oldest) && _cuda.QueryEvent(oldest) == 0)
            {
                _free.Push(_queued.Dequeue());
                _since = Stopwatch.GetTimestamp();
            }

            // "Not ready" is an error, to who asks for the last one.
            _ = _cuda.GetLastError();
            return _queued.Count == 0;
        }
    }

    private void Check(int result, string call) => CudaException.Check(_cuda, result, call);
}
