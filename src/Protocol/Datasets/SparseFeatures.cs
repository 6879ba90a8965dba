namespace MLDistributed.Protocol;

/// <summary>What sparse features must be before anything is read or written by their indices.</summary>
public static class SparseFeatures
{
    /// <summary>Looks through the rows of a batch.</summary>
    /// <param name="offsets">Where each row's features begin, and the last one's end.</param>
    /// <param name="indices">Slots, rising within a row.</param>
    /// <param name="values">Theirs.</param>
    /// <param name="featureSize">How many slots there are.</param>
    /// <exception cref="FormatException">A row is none; says which of the batch.</exception>
    public static void Check(ReadOnlySpan<int> offsets, ReadOnlySpan<int> indices, ReadOnlySpan<float> values, int featureSize)
    {
        if (offsets[0] != 0 || offsets[^1] != indices.Length)
            throw DatasetMetadata.Invalid($"has sparse rows from {offsets[0]} to {offsets[^1]} of {indices.Length} features");
        for (var row = 0; row + 1 < offsets.Length; row++)
        {
            var (start, end) = (offsets[row], offsets[row + 1]);
            if (start > end || end > indices.Length || !AreSlots(indices[start..end], featureSize))
                throw DatasetMetadata.Invalid($"has sparse features in row {row} of a record batch that are not slots from 0 to {featureSize - 1} in rising order");
        }

        if (values.IndexOfAnyExceptInRange(float.MinValue, float.MaxValue) >= 0)
            throw DatasetMetadata.Invalid("has sparse features that are no finite numbers");
    }

    /// <summary>Whether all are slots, each beyond the one before.</summary>
    public static bool AreSlots(ReadOnlySpan<int> indices, int featureSize)
    {
        var last = -1;
        foreach (var index in indices)
        {
            if (index <= last)
                return false;
            last = index;
        }

        return last < featureSize;
    }
}
