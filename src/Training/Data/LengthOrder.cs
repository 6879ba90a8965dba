using MLDistributed.Protocol;

namespace MLDistributed.Training.Data;

/// <summary>
/// Puts the rows of each global batch of texts by their lengths, the shortest first: a part of it is cut to its longest row, so that rows of
/// like length side by side have less padding. The order is the same on any number of ranks, and which rows a step has stays as it was.
/// </summary>
internal static unsafe class LengthOrder
{
    /// <summary>The rows of batches in their new order, for one thread at a time; as they come where they are no texts.</summary>
    /// <param name="spec">The job.</param>
    /// <param name="file">The rows.</param>
    /// <param name="rowAt">The row at a position.</param>
    /// <param name="batchSize">Rows of a global batch.</param>
    /// <param name="count">All rows.</param>
    public static Func<long, long> Of(JobSpec spec, DatasetFile file, Func<long, long> rowAt, int batchSize, long count)
    {
        if (spec.Module?.Text is not { } text)
            return rowAt;
        var (known, ordered) = (-1L, Array.Empty<long>());
        return position =>
        {
            var start = position / batchSize * batchSize;
            if (start == known)
                return ordered[position - start];
            var rows = new long[Math.Min(batchSize, count - start)];
            for (var i = 0; i < rows.Length; i++)
                rows[i] = rowAt(start + i);
            // Rows of one length stay in the order of the seed.
            (known, ordered) = (start, [.. rows.OrderBy(row => Length(new ReadOnlySpan<float>(file.Features(row), text.InputSize)))]);
            return ordered[position - start];
        };
    }

    /// <summary>The tokens of a row, 0 behind the last.</summary>
    public static int Length(ReadOnlySpan<float> ids)
    {
        var length = ids.Length;
        while (length > 1 && !(ids[length - 1] > 0))
            length--;
        return length;
    }
}
