using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Parallel;
using MLDistributed.Training.Profiling;

namespace MLDistributed.Training.Loop;

/// <summary>What a rank takes from its surroundings; tests put their own here.</summary>
internal sealed record TrainingEnvironment
{
    public TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>How long a silent rank is waited for. The last resort: the agent notices a dead one at once.</summary>
    public TimeSpan PeerTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long ranks wait for one another before the first step: data sets and checkpoints may come from slow disks.</summary>
    public TimeSpan StartTimeout { get; init; } = TimeSpan.FromMinutes(15);

    /// <summary>Memory that this machine or container has.</summary>
    public long MemoryBytes { get; init; } = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes;

    /// <summary>Threads of libtorch in this process; null: what OMP_NUM_THREADS says, or this rank's part of the cores.</summary>
    public int? ThreadCount { get; init; }

    /// <summary>Whether training stands still while a checkpoint is written, so that tests know which there are.</summary>
    public bool WaitForCheckpoints { get; init; }

    /// <summary>Hears of every row that this rank takes into a step, the step counted from 1.</summary>
    public Action<long, long>? RowTaken { get; init; }

    /// <summary>Whether the next batch is gathered beside the step; null: where there is a GPU, or a core for it.</summary>
    public bool? Prefetch { get; init; }

    /// <summary>Is told where the time of steps goes.</summary>
    public StepProfile? Profile { get; init; }

    /// <summary>Makes what joins ranks that share no memory, disposed with the attempt; null: they share this host's.</summary>
    public Func<RankStart, ICollective>? Transport { get; init; }

    /// <summary>Where a rank is among the hosts of its job; null: all ranks are on this host.</summary>
    public Func<RankStart, HostPlace>? Hosts { get; init; }

    /// <summary>Whether everything of a rank is on its device; null: where that is a GPU.</summary>
    public bool? OnDevice { get; init; }

    /// <summary>Gradients that the ranks of devices sum at a time.</summary>
    public long DeviceBucketLength { get; init; } = DeviceUpdate.BucketLength;

    /// <summary>CUDA's runtime; asked for by ranks whose batches go to a device alone.</summary>
    public Func<ICudaRuntime> Cuda { get; init; } = CudaRuntime.Load;

    /// <summary>NCCL; asked for by ranks of several devices alone.</summary>
    public Func<NcclLibrary> Nccl { get; init; } = DeviceLink.LoadNccl;

    /// <summary>What a job trains; null: what its specification says.</summary>
    public Func<JobSpec, IModuleSource>? Module { get; init; }

    /// <summary>Makes the model of the weights; null: the module's own writer.</summary>
    public Func<JobSpec, IReadOnlyDictionary<string, float[]>, ModelProto>? WriteOnnx { get; init; }
}
