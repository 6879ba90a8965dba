using MLDistributed.Collectives;
using static TorchSharp.torch;

namespace MLDistributed.Training.Devices;

/// <summary>
/// Which of the parameters each of a host's devices updates, and keeps the optimizer's state of (Rajbhandari et al. 2020, stage 1). They are cut into
/// blocks of one length, and each rank has an equal part of every block: so a block's gradients are summed as soon as backward has them, and all ranks
/// are at work on each. The last block ends in room that is nobody's.
/// </summary>
internal sealed record DeviceShards
{
    private DeviceShards(long length, int rank, int rankCount, long partLength, long blockCount) =>
        (Length, Rank, RankCount, PartLength, BlockCount) = (length, rank, rankCount, partLength, blockCount);

    /// <summary>Of the parameters.</summary>
    public long Length { get; }

    /// <summary>This one, of those that share them.</summary>
    public int Rank { get; }

    /// <summary>How many share them.</summary>
    public int RankCount { get; }

    /// <summary>Of a rank in a block.</summary>
    public long PartLength { get; }

    public long BlockCount { get; }

    public long BlockLength => PartLength * RankCount;

    /// <summary>Of all blocks.</summary>
    public long PaddedLength => BlockLength * BlockCount;

    /// <summary>Cuts parameters up.</summary>
    /// <param name="length">How many.</param>
    /// <param name="rank">This one.</param>
    /// <param name="rankCount">How many share them.</param>
    /// <param name="blockLength">About how many of them a block has.</param>
    public static DeviceShards Of(long length, int rank, int rankCount, long blockLength)
    {
        var partLength = Math.Max(1, Quotient(length, Math.Max(1, Quotient(length, blockLength)) * rankCount));
        return new DeviceShards(length, rank, rankCount, partLength, Math.Max(1, Quotient(length, partLength * rankCount)));
    }

    /// <summary>What a rank keeps of a vector as long as the parameters, at least: room that is nobody's comes on top.</summary>
    public static long Share(long length, int rankCount) => Quotient(length, rankCount);

    /// <summary>This rank's part of a block, without what is nobody's.</summary>
    public Shard Part(long block)
    {
        var start = Math.Min(Length, (block * BlockLength) + (Rank * PartLength));
        return new Shard(start, Math.Min(PartLength, Length - start));
    }

    /// <summary>This rank's parts of all blocks, [blocks, part], in a tensor of <see cref="PaddedLength"/>: a view.</summary>
    public Tensor Own(Tensor padded) => padded.view(BlockCount, RankCount, PartLength).select(1, Rank);

    private static long Quotient(long number, long divisor) => number / divisor + (number % divisor == 0 ? 0 : 1);
}
