namespace MLDistributed.Collectives.Mpi;

/// <summary>
/// Calls MPI while no operation does. Over TCP, UCX calls sent what it holds back when the network takes no more at the
/// moment, and goes on with that when it is called next: by a rank that computes for a second, a second later.
/// </summary>
internal sealed class MpiProgress : IDisposable
{
    // What a late value costs the others at most; 500 looks a second take 0.3 percent of a core.
    private const int PauseMilliseconds = 2;

    // By then the others have said that they have what came before, so that the network takes the rest.
    private const int LastMilliseconds = 5;

    private readonly Func<bool> _look;
    private readonly ManualResetEventSlim _end = new(initialState: false, spinCount: 0);
    private readonly Thread _thread;

    /// <param name="look">Lets MPI go on, unless an operation is under way; false: it is not to be called again. Never waits, never throws.</param>
    public MpiProgress(Func<bool> look)
    {
        _look = look;
        _thread = new Thread(Run) { IsBackground = true, Name = "MPI between operations" };
        _thread.Start();
    }

    /// <summary>Sends what is held back of a <see cref="MpiCollective.Barrier()"/> that all ranks have met in, and ends.</summary>
    public void Dispose()
    {
        _end.Set();
        _thread.Join();
        SpinWait.SpinUntil(() => !_look(), LastMilliseconds);
    }

    private void Run()
    {
        while (!_end.Wait(PauseMilliseconds) && _look())
        {
        }
    }
}
