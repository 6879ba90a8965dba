using System.Net.NetworkInformation;

namespace MLDistributed.Collectives.Mpi;

/// <summary>How a process becomes a rank of an MPI world, without mpirun: once in its life.</summary>
public static class MpiWorld
{
    private const string Remedy = "Install it (Debian: apt install libmpich12), or use a library with its binary interface.";

    private static int s_joined;

    /// <summary>Why MPI cannot be used here; null: it can. For processes that will never join a world: the library is loaded with their environment.</summary>
    public static string? Unavailable()
    {
        if (!OperatingSystem.IsLinux())
            return "MPI is used on Linux only.";
        MpiEnvironment.ApplyToProcess();
        return NativeMpi.TryLoad(out _) ? null : $"MPICH's library (libmpi.so.12 or libmpich.so.12) was not found. {Remedy}";
    }

    /// <summary>Which library it is, as "MPICH 4.0.2": worlds are of one. Where <see cref="Unavailable"/> says nothing against it.</summary>
    public static string LibraryVersion() => NativeMpi.LibraryVersion();

    /// <summary>Meets the other ranks: by the rendezvous first, then over the network itself.</summary>
    /// <exception cref="CollectiveException">MPI is not there or does not start, or this process has been in a world; the message says what to do.</exception>
    /// <exception cref="HostNetworkException">The interface is not there, or has no link.</exception>
    /// <exception cref="CollectiveTimeoutException">Not all ranks came in time, or they do not reach one another.</exception>
    /// <exception cref="CollectiveAbortedException">A rank has aborted.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static MpiCollective Join(MpiOptions options, IRendezvous rendezvous, CancellationToken stop = default)
    {
        options.Validate();
        var patience = new MpiPatience(rendezvous, options.Number(options.Rank));
        try
        {
            CheckInterface(options.NetworkInterface);
            if (Interlocked.Exchange(ref s_joined, 1) != 0)
                throw new CollectiveException("This process has been in an MPI world already, expected one in a process's life. Start another process for the next attempt.");
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
            limit.CancelAfter(options.RendezvousTimeout);
            Start(options, rendezvous, patience, limit.Token);
            var collective = new MpiCollective(options, patience);
            using (stop.Register(patience.Abort))
                collective.Barrier(options.RendezvousTimeout);
            return collective;
        }
        catch (Exception e)
        {
            patience.Abort();
            stop.ThrowIfCancellationRequested();
            if (e is not OperationCanceledException)
                throw;
            throw new CollectiveTimeoutException($"Rank {options.Describe(options.Rank)} waited {options.RendezvousTimeout.TotalSeconds:0.###} s for MPI to start, expected all {options.WorldSize} ranks to come. See why they did not start.");
        }
    }

    // UCX would end the process.
    private static void CheckInterface(string name)
    {
        if (name.Length == 0)
            return;
        var all = NetworkInterface.GetAllNetworkInterfaces();
        var state = all.FirstOrDefault(i => i.Name == name)?.OperationalStatus;
        if (state is OperationalStatus.Up or OperationalStatus.Unknown)
            return;
        throw new HostNetworkException($"Network interface \"{name}\" {(state is null ? "is not there" : $"is {state}")}, expected one that is up and that the other hosts reach. This machine has {string.Join(", ", all.Where(i => i.OperationalStatus is OperationalStatus.Up or OperationalStatus.Unknown).Select(i => $"\"{i.Name}\""))}.");
    }

    // MPI_Init waits for the others without a limit: on a thread that is given up when it takes too long.
    private static void Start(MpiOptions options, IRendezvous rendezvous, MpiPatience patience, CancellationToken stop)
    {
        var pmi = new PmiServer(rendezvous, options, stop);
        MpiEnvironment.Apply(options, pmi.Start());
        if (!NativeMpi.TryLoad(out _))
            throw new CollectiveException($"MPICH's library (libmpi.so.12 or libmpich.so.12) was not found. {Remedy}");
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            try
            {
                NativeMpi.Start();
                started.SetResult();
            }
            catch (Exception e)
            {
                started.SetException(e);
            }
        }) { IsBackground = true, Name = "MPI_Init" }.Start();
        var first = Task.WaitAny([started.Task, pmi.Failed.Task, rendezvous.Aborted], stop);
        patience.ThrowIfAborted();
        if (first == 1)
        {
            var failure = pmi.Failed.Task.Result;
            throw failure as OperationCanceledException ?? (Exception)new CollectiveException($"MPI's start failed: {failure.Message}", failure);
        }

        started.Task.GetAwaiter().GetResult();
    }
}
