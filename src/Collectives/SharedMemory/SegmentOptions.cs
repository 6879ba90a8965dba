namespace MLDistributed.Collectives.SharedMemory;

/// <summary>Which memory the ranks of a host share, and this rank's place in it.</summary>
public sealed record SegmentOptions
{
    /// <summary>The file that backs the memory, in /dev/shm where there is one. Rank 0 makes it, and unlinks it once all ranks have mapped it.</summary>
    public required string Path { get; init; }

    /// <summary>This rank, from 0.</summary>
    public required int Rank { get; init; }

    /// <summary>What is added to ranks in messages, where these are some of a job's.</summary>
    /// <value>0</value>
    public int FirstRank { get; init; }

    /// <summary>How many ranks there are, at most <see cref="SharedSegment.MaxWorldSize"/>.</summary>
    public required int WorldSize { get; init; }

    /// <summary>Floats in the parameters, and in each rank's gradients.</summary>
    /// <value>0: only the operations of <see cref="ICollective"/>.</value>
    public long Length { get; init; }

    /// <summary>How many buffers of <see cref="Length"/> floats each rank has for gradients; 0 where these are elsewhere.</summary>
    /// <value>1</value>
    public int GradientBuffers { get; init; } = 1;

    /// <summary>How many buffers of <see cref="Length"/> floats all ranks share beside the parameters, such as an optimizer's moments.</summary>
    /// <value>0</value>
    public int StateBuffers { get; init; }

    /// <summary>Bits that each rank has beside its gradients, to mark what of them it wrote (<see cref="SharedSegment.Marks"/>).</summary>
    /// <value>0</value>
    public long MarkCount { get; init; }

    /// <summary>What tells this run from others, such as the attempt's id: a file of another run is refused.</summary>
    public string RunId { get; init; } = "";

    /// <summary>How long the ranks wait for one another to come.</summary>
    /// <value>60 seconds</value>
    public TimeSpan RendezvousTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long an operation waits for the slowest rank. The last resort: a rank whose end is noticed is aborted for by others.</summary>
    /// <value>60 seconds</value>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Bytes a rank for the copies that the operations of <see cref="ICollective"/> make; longer values go through in pieces.</summary>
    /// <value>1 MiB</value>
    public int StagingBytes { get; init; } = 1 << 20;

    // Tests turn it off to wait as systems without futexes do.
    internal bool UseFutex { get; init; } = true;
}
