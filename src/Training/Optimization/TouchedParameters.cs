using System.Numerics;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Optimization;

/// <summary>
/// Which parameters a step changes: all, but of a table with sparse rows those of the rows that any rank has marked. The others
/// have no gradient in the step, and are left as they are, their moments too (as torch.optim.SparseAdam does): a step costs what
/// its rows have of features, and not what there are of them.
/// </summary>
/// <param name="segment">The ranks' marks.</param>
/// <param name="layout">The table is its first tensor, or there is none.</param>
/// <param name="blockLength">The most parameters at once.</param>
internal sealed unsafe class TouchedParameters(SharedSegment segment, FlatLayout layout, int blockLength)
{
    private readonly long _rows = layout.Parameters is [{ HasSparseRows: true } table, ..] ? table.Shape[0] : 0;
    private readonly long _width = layout.Parameters is [{ HasSparseRows: true } table, ..] ? table.Shape[1] : 1;

    /// <summary>Whether there is a table with sparse rows.</summary>
    public bool IsTable => _rows > 0;

    /// <summary>Finds the next stretch that changes; none is left when it is empty.</summary>
    /// <param name="at">Where to look from on; then its start.</param>
    /// <param name="end">Where to look to.</param>
    /// <returns>Its length.</returns>
    public int Next(ref long at, long end)
    {
        var tableEnd = _rows * _width;
        if (at < tableEnd)
        {
            var row = NextMarked(at / _width);
            at = Math.Max(at, row * _width);
            if (at < Math.Min(end, tableEnd))
            {
                var last = row;
                while ((last + 2) * _width - at <= blockLength && NextMarked(last + 1) == last + 1 && last + 1 < _rows)
                    last++;
                return (int)Math.Min(blockLength, Math.Min(end, (last + 1) * _width) - at);
            }
        }

        return (int)Math.Clamp(end - at, 0, blockLength);
    }

    /// <summary>Marks the rows of a stretch for a rank, which does not work on its marks meanwhile.</summary>
    public void Mark(int rank, long start, int length)
    {
        for (var row = start / _width; row < _rows && row * _width < start + length; row++)
            segment.Marks(rank)[row / 64] |= 1UL << (int)(row % 64);
    }

    /// <summary>Zeroes the gradients of the rows that this rank has marked, and its marks.</summary>
    public void Clear()
    {
        var marks = segment.Marks(segment.Rank);
        var gradients = segment.Gradients(segment.Rank);
        for (var word = 0L; word < segment.MarkWords; word++)
        {
            for (; marks[word] != 0; marks[word] &= marks[word] - 1)
                new Span<float>(gradients + ((word * 64) + BitOperations.TrailingZeroCount(marks[word])) * _width, (int)_width).Clear();
        }
    }

    // The first marked row from one on; as many as there are: none.
    private long NextMarked(long row)
    {
        for (var word = row / 64; word < segment.MarkWords; word++)
        {
            var marks = 0UL;
            for (var rank = 0; rank < segment.WorldSize; rank++)
                marks |= segment.Marks(rank)[word];
            if (word == row / 64)
                marks &= ulong.MaxValue << (int)(row % 64);
            if (marks != 0)
                return (word * 64) + BitOperations.TrailingZeroCount(marks);
        }

        return _rows;
    }
}
