using MLDistributed.Collectives;
using MLDistributed.Collectives.Heartbeats;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Loop;
using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Parallel;
using TorchSharp;

namespace MLDistributed.Training;

/// <summary>One rank's part of one attempt of a job.</summary>
public static class RankTraining
{
    /// <summary>Set to 1 in the environment of ranks that share cores; <see cref="Preload"/> looks.</summary>
    public const string SharesCoresVariable = "MLDIST_SHARES_CORES";

    /// <summary>Names a libcudart: ranks on CPUs then train as those on GPUs do, with the CPU for the device. For tests, as it is slower.</summary>
    public const string TestDeviceVariable = "MLDIST_TEST_LIBCUDART";

    /// <summary>Loads libtorch, so that the first job does not wait for it.</summary>
    public static void Preload()
    {
        if (Environment.GetEnvironmentVariable(SharesCoresVariable) == "1" && LibtorchFolder.Find() is { } folder)
            HugeCode.Prepare(Path.Combine(folder, LibtorchFolder.MainFile));
        NativeLoading.EnsureLoaded();
        torch.InitializeDeviceType(DeviceType.CPU);
    }

    /// <summary>Which NCCL joins the GPUs of this machine's ranks, as "2.27.5"; null: none does.</summary>
    /// <param name="fault">Why none does, without a full stop.</param>
    public static string? NcclVersion(out string fault) => DeviceLink.TryLoad(CudaRuntime.Load, DeviceLink.LoadNccl, out fault)?.Nccl.Version;

    /// <summary>Trains to the end. Blocks the calling thread.</summary>
    /// <param name="start">The job, this rank's place in it, and its files.</param>
    /// <param name="reporter">Hears of progress, on the calling thread.</param>
    /// <param name="workers">The way to the other workers' ranks; used where there are any.</param>
    /// <param name="stop">Stops this rank and, through the collective, all others.</param>
    /// <exception cref="TrainingException">The training cannot go on; the failure says why.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static RankResult Run(RankStart start, IRankReporter reporter, IRendezvous workers, CancellationToken stop) =>
        new RankSession(start, reporter, EnvironmentOf(start, workers, stop)).Run(stop);

    /// <summary>Looks whether the first ranks of an attempt's workers will reach one another, before anything is fetched for them. Loads no libtorch. Blocks the calling thread.</summary>
    /// <param name="start">This worker's first rank, of which no file is there yet.</param>
    /// <param name="workers">The way to the other workers; hears of who is not reached.</param>
    /// <param name="stop">Ends it.</param>
    /// <exception cref="CollectiveException">They do not; the message says who.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static void CheckPeers(RankStart start, IRendezvous workers, CancellationToken stop) => PeerCheck.Run(HostPlace.OptionsOf(start), workers, stop);

    private static TrainingEnvironment EnvironmentOf(RankStart start, IRendezvous workers, CancellationToken stop)
    {
        var environment = new TrainingEnvironment { Hosts = start.Participants.Count == 0 ? null : s => HostPlace.Of(s, workers, stop) };
        return Environment.GetEnvironmentVariable(TestDeviceVariable) is { Length: > 0 } library ? environment with { OnDevice = true, Cuda = () => CudaRuntime.Of(library) } : environment;
    }
}
