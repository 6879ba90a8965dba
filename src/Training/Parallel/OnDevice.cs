using System.Runtime.InteropServices;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Nccl;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Optimization;
using Device = TorchSharp.torch.Device;

namespace MLDistributed.Training.Parallel;

/// <summary>
/// Each rank on a device of its own: parameters and gradients are there, and of the optimizer's state, which a host has once, a part; the update is made
/// there. The host's memory has room for copies; several ranks meet in it, and those of several hosts by their leaders, and sum their gradients and give
/// one another the new parameters from device to device.
/// </summary>
internal sealed class OnDevice : IParallelStrategy
{
    private readonly JobSpec _spec;
    private readonly SegmentOptions _options;
    private readonly DeviceRank _rank;
    private readonly CancellationToken _stop;
    private readonly HostRanks _ranks;
    private readonly PlannedWord? _planned;
    private byte[]? _id;
    private DeviceTensors? _tensors;
    private DeviceExchange? _exchange;

    /// <param name="spec">The job.</param>
    /// <param name="options">The memory of this host.</param>
    /// <param name="rank">This rank's device, and the way to others.</param>
    /// <param name="place">Where this rank is; null: all ranks are on this host.</param>
    /// <param name="stop">Ends the wait for the others.</param>
    public OnDevice(JobSpec spec, SegmentOptions options, DeviceRank rank, HostPlace? place, CancellationToken stop)
    {
        (_spec, _options, _rank, _stop) = (spec, options, rank, stop);
        _ranks = HostRanks.Meet(options, place is null ? null : place with { MeetLeaders = Lead }, stop);
        _planned = place is null ? null : new PlannedWord(Memory, place.Host == 0);

        ICollective Lead()
        {
            _id = NcclOffer.Exchange(place, rank.Link, rank.MissingLink);
            return place.MeetLeaders();
        }
    }

    public ICollective Collective => _ranks.All;

    public SharedSegment Memory => _ranks.Local.Segment;

    public IFlatTensors CreateTensors(Device device) =>
        _tensors = new DeviceTensors(device, _ranks.Local, Shards, FlatOptimizer.StateNames(_spec.Optimizer).Count, hasAverage: _spec.Optimizer.AveragingDecay > 0);

    public IGradientStrategy CreateUpdate(FlatLayout layout, BatchSplit split)
    {
        _tensors!.Exchange = _exchange = _rank.Link is null ? null : Meet(_rank.Link);
        return new DeviceUpdate(_tensors, Collective, _exchange, layout, _spec, split, _planned, _rank.BucketLength);
    }

    public StatisticsJoin Statistics => new(Collective, StaysOnDevice: true, _exchange);

    // What a rank is told of another's abort may be this one's own.
    public Exception CauseOf(Exception failure) => failure is CollectiveAbortedException && _exchange?.Failure is { } cause ? cause : failure;

    // Nobody leaves while another is at sums.
    public void Complete()
    {
        _ranks.Complete();
        _exchange?.Complete();
    }

    public void Dispose()
    {
        _exchange?.Dispose();
        _ranks.Dispose();
    }

    private bool IsOnOneHost => _ranks.Local.WorldSize == Collective.WorldSize;

    // Blocks are summed where all have a part of each; sums over hosts are the whole, and a part of it may be in one piece.
    private DeviceShards Shards =>
        DeviceShards.Of(Memory.Length, _ranks.Local.Rank, _ranks.Local.WorldSize, IsOnOneHost ? _rank.BucketLength : Memory.Length);

    private DeviceExchange Meet(DeviceLink link)
    {
        CudaException.Check(link.Cuda, link.Cuda.SetDevice(_rank.Index), $"cudaSetDevice({_rank.Index})");
        // The first rank of a host alone has made the first weights, and each has locked its pages.
        Collective.Barrier(_options.RendezvousTimeout);
        var all = Meet(link, Collective, _id);
        var host = all;
        try
        {
            if (!IsOnOneHost && _ranks.Local.WorldSize > 1)
                host = Meet(link, _ranks.Local, null);
            return new DeviceExchange(link.Cuda, all, host, _ranks.Local, Collective, _rank.Index, _options.Timeout);
        }
        catch
        {
            all.Abort();
            host.Abort();
            throw;
        }
    }

    // The first rank's id is NCCL's rendezvous; it is as secret as the memory that it goes through.
    private NcclCommunicator Meet(DeviceLink link, ICollective ranks, byte[]? known)
    {
        var id = new float[NcclLibrary.IdBytes / sizeof(float)];
        if (_ranks.Local.Rank == 0)
            (known ?? link.Nccl.NewId()).CopyTo(MemoryMarshal.AsBytes(id.AsSpan()));
        _ranks.Local.Broadcast(id, 0);
        return NcclCommunicator.Join(link.Nccl, MemoryMarshal.AsBytes(id.AsSpan()), ranks.Rank, ranks.WorldSize, _options.RendezvousTimeout, () => Collective.IsAborted || _stop.IsCancellationRequested);
    }
}

/// <summary>A rank's device.</summary>
/// <param name="Index">This rank's.</param>
/// <param name="Link">What joins it with those of others; null: there is one rank, or nothing does.</param>
/// <param name="MissingLink">Why nothing does, without a full stop.</param>
/// <param name="BucketLength">Gradients that are summed at a time.</param>
internal sealed record DeviceRank(int Index, DeviceLink? Link, string MissingLink, long BucketLength);
