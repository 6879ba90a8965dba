using Microsoft.Extensions.Logging;
using MLDistributed.Protocol;
using MLDistributed.Worker.Agents;
using MLDistributed.Worker.Attempts;
using MLDistributed.Worker.Connections;
using MLDistributed.Worker.Devices;
using MLDistributed.Worker.Networks;
using MLDistributed.Worker.Ranks;
using MLDistributed.Worker.Transfers;

namespace MLDistributed.Worker;

/// <summary>
/// The agent of one machine: offers its devices to a coordinator, keeps a warm rank process for each, and runs the
/// attempts it is given on them.
/// </summary>
public static class AgentHost
{
    private static readonly TimeSpan LeaveTimeout = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan ProbeTimeout = TimeSpan.FromMinutes(3);

    /// <summary>Serves until cancelled; then, after <see cref="AgentOptions.LeaveGrace"/>, stops its ranks and removes what it wrote for attempts, within 2 s.</summary>
    /// <exception cref="AgentException">The options cannot work, or the coordinator refuses this worker.</exception>
    public static async Task RunAsync(AgentOptions options, CancellationToken cancellation)
    {
        Validate(options);
        using var work = WorkFolder.Open(options.WorkFolder);
        var log = new AgentLog(options.LoggerFactory.CreateLogger("MLDistributed.Worker"));
        var mailbox = new Mailbox();
        using var closing = new CancellationTokenSource();
        var loop = mailbox.RunAsync(closing.Token);
        RankPool? pool = null;
        try
        {
            var network = options.Network is null ? null : WorkerNetwork.Of(options.Network, options.NetworkPorts);
            var offer = ChooseOffer(options, new NvmlDevices(new NvmlLibrary()));
            pool = await StartPoolAsync(offer).ConfigureAwait(false);
            var first = offer.Kind == DeviceKind.Cuda ? await FirstAnswerAsync(pool, loop, cancellation).ConfigureAwait(false) : null;
            if (first is { CudaAvailable: false })
            {
                if (options.Device == DeviceKind.Cuda)
                    throw new AgentException("CUDA devices were asked for, but this build of libtorch cannot use them, expected a build with -p:TorchBackend=cuda and a driver for it. Or offer the CPU: --device cpu.");
                log.CudaUnusable();
                await StopPoolAsync(pool).ConfigureAwait(false);
                offer = CpuOffer(options);
                pool = await StartPoolAsync(offer).ConfigureAwait(false);
            }
            else if (first is not null && network is not null)
            {
                network.Nccl = (first.Nccl, first.NcclFault);
            }

            await ServeAsync(options, work, log, mailbox, loop, pool, offer, network, cancellation).ConfigureAwait(false);

            Task<RankPool> StartPoolAsync(Offer offered) => mailbox.AskAsync(() =>
            {
                var created = new RankPool(options.RankCommandLine, work, offered.Devices.Count, Environment.ProcessorCount, network?.Look().Interface, mailbox, options.PingInterval, options.Time, log);
                created.Start();
                return created;
            });
        }
        finally
        {
            if (pool is not null)
                await StopPoolAsync(pool).ConfigureAwait(false);
            await closing.CancelAsync().ConfigureAwait(false);
            await loop.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        // Not on the mailbox where that has failed: nothing else runs then.
        Task StopPoolAsync(RankPool ended) => loop.IsCompleted ? ended.StopAsync() : mailbox.AskAsync(ended.StopAsync).Unwrap();
    }

    private static async Task ServeAsync(AgentOptions options, WorkFolder work, AgentLog log, Mailbox mailbox, Task loop, RankPool pool, Offer offer, WorkerNetwork? network, CancellationToken cancellation)
    {
        log.Offers(offer.Devices.Count, string.Join(", ", offer.Devices.GroupBy(d => d.Name, StringComparer.Ordinal).Select(g => $"{g.Count()} x {g.Key}")));
        var outbox = new Outbox(options.Time);
        log.Meets(network?.Look());
        CoordinatorLink? link = null;
        var blobs = new BlobTransfer(() => link!.Invoker, options.Time, log);
        var datasets = new DatasetCache(work.Datasets, options.DatasetCacheBytes, blobs, options.Time);
        using var commits = new CommitStore(AttemptFiles.SegmentFolder, options.Time, mailbox.Post);
        var agent = new Agent(new AgentServices(options.Host, offer.Devices, pool, mailbox, outbox, blobs, datasets, commits, network, options.CheckPeers, options.Time, log), work, offer.List);
        await mailbox.AskAsync(() => pool.FaultsChanged = agent.OnFaultsChanged).ConfigureAwait(false);
        using var closing = new CancellationTokenSource();
        using var opened = link = new CoordinatorLink(options, work.CredentialPath, outbox, agent, log);
        var serving = link.RunAsync(closing.Token);
        try
        {
            var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            using var registration = cancellation.Register(cancelled.SetResult);
            var first = await Task.WhenAny(serving, loop, cancelled.Task).ConfigureAwait(false);
            await first.ConfigureAwait(false);
            if (options.LeaveGrace > TimeSpan.Zero)
                await Task.WhenAny(serving, loop, mailbox.AskAsync(agent.StoreCheckpointsAsync).Unwrap(), Task.Delay(options.LeaveGrace, options.Time, closing.Token)).ConfigureAwait(false);
            await mailbox.AskAsync(agent.AbandonAsync).Unwrap().WaitAsync(LeaveTimeout, options.Time, CancellationToken.None).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            await link.LeaveAsync(LeaveTimeout).ConfigureAwait(false);
        }
        finally
        {
            await closing.CancelAsync().ConfigureAwait(false);
            await serving.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static void Validate(AgentOptions options)
    {
        if (options.Coordinator is not { IsAbsoluteUri: true, Scheme: "https" or "http" or "unix" })
            throw new AgentException($"Coordinator is \"{options.Coordinator}\", expected https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port.");
        const int maxHost = 255;
        if (options.Host.Length is 0 or > maxHost)
            throw new AgentException($"The name of this machine is \"{VisibleText.Shortened(options.Host)}\", expected 1 to {maxHost} characters.");
        if (options.LeaveGrace < TimeSpan.Zero || options.LeaveGrace > TimeSpan.FromDays(1))
            throw new AgentException($"The grace at the end is {options.LeaveGrace.TotalSeconds} s, expected 0 to 86400, as 25.");
        if (options.Slots is < 1)
            throw new AgentException($"Slots is {options.Slots}, expected at least 1.");
        if (options is { Network: null, NetworkPorts: not null })
            throw new AgentException($"Network ports are \"{VisibleText.Shortened(options.NetworkPorts)}\" and no network is named, expected that too, as --network eth1.");
    }

    private static Offer ChooseOffer(AgentOptions options, NvmlDevices nvml)
    {
        if (options.Device == DeviceKind.Cpu)
            return CpuOffer(options);
        var visible = () => VisibleDevices.Apply(nvml.List(), Environment.GetEnvironmentVariable("CUDA_VISIBLE_DEVICES"));
        if (visible() is { Count: > 0 } devices)
            return new Offer(DeviceKind.Cuda, devices, visible);
        return options.Device == DeviceKind.Cuda
            ? throw new AgentException("CUDA devices were asked for, but NVML lists none, expected at least one. Install NVIDIA's driver, or offer the CPU: --device cpu.")
            : CpuOffer(options);
    }

    private static Offer CpuOffer(AgentOptions options)
    {
        var cpu = new CpuDevices(options.Slots ?? Environment.ProcessorCount);
        return new Offer(DeviceKind.Cpu, cpu.List(), cpu.List);
    }

    // Asked in a rank process: the agent itself never loads libtorch.
    // One that cannot load says nothing of CUDA: its fault tells.
    private static async Task<RankReady?> FirstAnswerAsync(RankPool pool, Task loop, CancellationToken cancellation)
    {
        var first = await Task.WhenAny(pool.FirstAnswer, loop).WaitAsync(ProbeTimeout, cancellation).ConfigureAwait(false);
        await first.ConfigureAwait(false);
        return await pool.FirstAnswer.ConfigureAwait(false);
    }

    private sealed record Offer(DeviceKind Kind, IReadOnlyList<Device> Devices, Func<IReadOnlyList<Device>> List);
}
