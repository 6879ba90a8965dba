using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Protocol;
using MLDistributed.Training;
using MLDistributed.Worker.Ranks;

namespace MLDistributed.Worker;

/// <summary>How an agent reaches its coordinator and what it offers.</summary>
public sealed class AgentOptions
{
    /// <summary>https://host:port, unix:///path/to/socket or, on this machine, http://localhost:port.</summary>
    public required Uri Coordinator { get; init; }

    /// <summary>A one-time join token; needed for the first start on a work folder, but not over a Unix socket.</summary>
    public string? Token { get; init; }

    /// <summary>SHA-256 of the coordinator's certificate in hexadecimal digits, when it is self-signed.</summary>
    public string? Fingerprint { get; init; }

    /// <summary>Folder of the credential, the dataset cache and the files of running attempts. Made when missing (mode 0700).</summary>
    /// <value>mldist/worker in the user's local application data.</value>
    public string WorkFolder { get; init; } = Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "mldist", "worker");

    /// <summary>Rank processes on the CPU. Null: one a core. Ignored where CUDA devices are offered: one each.</summary>
    public int? Slots { get; init; }

    /// <summary>What is offered. Any: CUDA devices when there are some and this build of libtorch can use them, else the CPU.</summary>
    /// <value><see cref="DeviceKind.Any"/>.</value>
    public DeviceKind Device { get; init; }

    /// <summary>The name of this machine.</summary>
    /// <value>The host name.</value>
    public string Host { get; init; } = Environment.MachineName;

    /// <summary>Where this worker's ranks meet those of other workers: an interface, as "eth1", or a range of addresses, as "10.1.0.0/16". MPI's traffic there is neither encrypted nor authenticated. Until ranks begin, workers give one another the job's data there, over TLS.</summary>
    /// <value>null: they meet no others, and jobs over several workers are not placed here.</value>
    public string? Network { get; init; }

    /// <summary>The ports there, as "7300-7399", at which those of other workers reach this worker's ranks: TCP for MPI and data, UDP for heartbeats. Within 1024 to 65535.</summary>
    /// <value>null: 7300 to 7399.</value>
    public string? NetworkPorts { get; init; }

    /// <summary>Datasets that are kept for later jobs; the least recently used go first.</summary>
    /// <value>64 GiB.</value>
    public long DatasetCacheBytes { get; init; } = 64L << 30;

    /// <summary>How long the agent stays, told to leave, until what it runs has a new checkpoint in the coordinator's store: at most 1 day.</summary>
    /// <value>Zero: it leaves at once, and its jobs go on elsewhere from their last checkpoint.</value>
    public TimeSpan LeaveGrace { get; init; }

    /// <summary>Where the agent's log goes.</summary>
    /// <value>Nowhere.</value>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;

    /// <summary>How a rank process is started: by default, this program with the argument "rank".</summary>
    internal RankCommandLine RankCommandLine { get; init; } = RankCommandLine.OfThisProgram();

    /// <summary>How often rank processes are asked whether they live; five times without an answer, and they are killed.</summary>
    internal TimeSpan PingInterval { get; init; } = TimeSpan.FromSeconds(2);

    /// <summary>Looks whether an attempt's workers reach one another.</summary>
    internal Action<RankStart, IRendezvous, CancellationToken> CheckPeers { get; init; } = RankTraining.CheckPeers;

    internal TimeProvider Time { get; init; } = TimeProvider.System;
}
