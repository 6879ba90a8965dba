namespace MLDistributed.Training.Models;

/// <summary>How a tensor of a module lies in its graph, where rows are always the first dimension.</summary>
/// <param name="Shape">The tensor's shape.</param>
/// <param name="RowAxis">Its dimension that counts rows.</param>
/// <param name="Fold">How many entries of that dimension a row has, one behind the other: those of [rows * heads, ...]. In the graph they are a dimension of their own, behind the rows.</param>
internal sealed record RowLayout(long[] Shape, int RowAxis, long Fold = 1)
{
    /// <summary>Rows that a module is traced with.</summary>
    public const int Rows = 3;

    public int Rank => Shape.Length;

    public int FromRight => Rank - RowAxis;

    /// <summary>The graph's dimensions, without the rows.</summary>
    public long[] RowShape => [.. Fold > 1 ? [Fold] : Array.Empty<long>(), .. Before, .. Behind];

    /// <summary>The graph's dimensions as they are while it is traced.</summary>
    public long[] GraphShape => [Rows, .. RowShape];

    public long[] Before => Shape[..RowAxis];

    public long[] Behind => Shape[(RowAxis + 1)..];

    /// <summary>Whether a shape can be one of this layout.</summary>
    public bool IsWhole => RowAxis >= 0 && RowAxis < Rank && Shape[RowAxis] == Rows * Fold;

    /// <summary>A dimension of the tensor in the graph.</summary>
    /// <exception cref="NotTracedException">It counts rows.</exception>
    public int Axis(long dimension)
    {
        var own = (int)(dimension < 0 ? Rank + dimension : dimension);
        if (own == RowAxis)
            throw new NotTracedException($"works over dimension {own}, which counts rows");
        return (Fold > 1 ? 2 : 1) + (own < RowAxis ? own : own - 1);
    }

    /// <summary>The same with other dimensions than rows.</summary>
    public RowLayout With(long[] shape) => this with { Shape = shape };

    /// <summary>With dimensions of 1 before the others.</summary>
    public RowLayout Padded(int rank) => this with { Shape = [.. Enumerable.Repeat(1L, rank - Rank), .. Shape], RowAxis = RowAxis + rank - Rank };

    /// <summary>The layout of the same numbers in another shape.</summary>
    /// <exception cref="NotTracedException">Rows would be mixed with others.</exception>
    public RowLayout Reshaped(long[] shape)
    {
        var before = Product(Before);
        for (var axis = 0; axis < shape.Length; axis++)
            if (shape[axis] % Rows == 0 && Product(shape[..axis]) == before && Fold * Product(Behind) == shape[axis] / Rows * Product(shape[(axis + 1)..]))
                return new RowLayout(shape, axis, shape[axis] / Rows);
        throw new NotTracedException($"makes [{string.Join(", ", shape)}] of [{string.Join(", ", Shape)}], in which rows are no dimension of their own");
    }

    public static long Product(IEnumerable<long> sizes) => sizes.Aggregate(1L, (a, b) => a * b);
}

/// <summary>Something that cannot be written as a graph of rows.</summary>
/// <param name="why">What it does, as "works over rows".</param>
internal sealed class NotTracedException(string why) : Exception(why)
{
    /// <summary>What went wrong at a place, in words that follow it.</summary>
    public static string Described(Exception e) => e is NotTracedException or NotSupportedException ? e.Message.TrimEnd('.') : $"failed ({e.GetType().Name}: {Native.NativeMessage.FirstSentence(e.Message).TrimEnd('.')})";
}
