using System.Runtime.ExceptionServices;
using MLDistributed.Collectives;

namespace MLDistributed.Training.Data;

/// <summary>Which rows are a batch; in ranking, which groups of rows.</summary>
/// <param name="RowAt">An order of rows.</param>
/// <param name="Start">The global batch's first position in it.</param>
/// <param name="Rows">Which positions of the global batch.</param>
/// <param name="GlobalRows">Rows of the global batch.</param>
/// <param name="Epoch">Of training rows, which are augmented anew in each; null: they stay as they are.</param>
/// <param name="RowCount">Rows of that epoch.</param>
internal readonly record struct BatchRequest(Func<long, long> RowAt, long Start, Shard Rows, int GlobalRows, int? Epoch = null, long RowCount = 0);

/// <summary>
/// Batches in order: while one is computed on, a thread of its own gathers the next into a second buffer. Worth it where
/// that thread has a core, or the computing is a GPU's.
/// </summary>
internal sealed class PrefetchedFeed : IDisposable
{
    private readonly BatchFeed[] _buffers;
    private readonly SemaphoreSlim _asked = new(0);
    private readonly SemaphoreSlim _filled = new(0);
    private readonly Thread _thread;
    private BatchRequest? _next;
    private int _current;
    private double _weightSum;
    private Exception? _failure;
    private volatile bool _disposed;

    public PrefetchedFeed(Func<BatchFeed> buffer)
    {
        _buffers = [buffer(), buffer()];
        _thread = new Thread(Fill) { IsBackground = true, Name = "feed" };
        _thread.Start();
    }

    /// <summary>Gives a batch, and has the one after it gathered.</summary>
    /// <param name="wanted">Mostly what was <paramref name="following"/> the last time.</param>
    /// <param name="following">Null: not known.</param>
    public Batch Load(BatchRequest wanted, BatchRequest? following)
    {
        if (_next != wanted)
        {
            Await();
            Ask(wanted);
        }

        Await();
        if (_failure is { } failure)
            ExceptionDispatchInfo.Throw(failure);
        _buffers[_current].Release();
        _current = 1 - _current;
        var weightSum = _weightSum;
        if (following is { } next)
            Ask(next);
        return _buffers[_current].View(weightSum);
    }

    public void Dispose()
    {
        _disposed = true;
        _asked.Release();
        _thread.Join();
        _asked.Dispose();
        _filled.Dispose();
        Array.ForEach(_buffers, b => b.Dispose());
    }

    private void Ask(BatchRequest request)
    {
        _next = request;
        _asked.Release();
    }

    // Bounded: the thread only copies memory.
    private void Await()
    {
        if (_next is null)
            return;
        _filled.Wait();
        _next = null;
    }

    private void Fill()
    {
        while (true)
        {
            _asked.Wait();
            if (_disposed)
                return;
            try
            {
                _weightSum = _buffers[1 - _current].Fill(_next!.Value);
            }
            catch (Exception e)
            {
                _failure = e;
            }

            _filled.Release();
        }
    }
}
