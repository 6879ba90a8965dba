namespace MLDistributed.Training.Models;

/// <summary>
/// A tensor that is a part of another's memory in another order (transpose, select, narrow, slices, chunks, expand, ...): what is taken
/// of each dimension follows from the two's strides, whatever function made it.
/// </summary>
/// <param name="Parts">Of each dimension of the source: where it begins, and by how much it steps.</param>
/// <param name="Sources">For each dimension of the result the source's; -1: it is of size 1, or repeats.</param>
/// <param name="Layout">The result's.</param>
internal sealed record StridedView((long Start, long Step, long Count)[] Parts, int[] Sources, RowLayout Layout)
{
    /// <exception cref="NotTracedException">It is no such part, or takes some rows only.</exception>
    public static StridedView Of(RowLayout source, long[] strides, long[] shape, long[] shapeStrides, long offset)
    {
        var parts = source.Shape.Select(_ => (Start: 0L, Step: 1L, Count: 1L)).ToArray();
        foreach (var d in Enumerable.Range(0, source.Rank).Where(d => source.Shape[d] > 1 && strides[d] > 0).OrderByDescending(d => strides[d]))
        {
            parts[d].Start = Math.Min(offset / strides[d], source.Shape[d] - 1);
            offset -= parts[d].Start * strides[d];
        }

        var sources = shape.Select(_ => -1).ToArray();
        foreach (var d in Enumerable.Range(0, shape.Length).Where(d => shape[d] > 1 && shapeStrides[d] > 0))
        {
            var from = Enumerable.Range(0, source.Rank).Where(s => !sources.Contains(s) && Fits(s, d)).OrderByDescending(s => strides[s]).Append(-1).First();
            if (from < 0)
                throw Unknown();
            sources[d] = from;
            parts[from] = parts[from] with { Step = shapeStrides[d] / strides[from], Count = shape[d] };
        }

        if (offset != 0)
            throw Unknown();
        var axis = Array.IndexOf(sources, source.RowAxis);
        if (axis < 0 || parts[source.RowAxis] is not (0, 1, var rows) || rows != RowLayout.Rows * source.Fold)
            throw new NotTracedException($"takes some of the rows of [{string.Join(", ", source.Shape)}]");
        return new StridedView(parts, sources, new RowLayout(shape, axis, source.Fold));

        bool Fits(int s, int d) => source.Shape[s] > 1 && strides[s] > 0 && shapeStrides[d] % strides[s] == 0
            && parts[s].Start + ((shape[d] - 1) * (shapeStrides[d] / strides[s])) < source.Shape[s];

        NotTracedException Unknown() => new($"makes [{string.Join(", ", shape)}] of [{string.Join(", ", source.Shape)}] in a way that is no slice, transposition or repetition");
    }

    /// <summary>Writes it.</summary>
    public string Write(TraceWriter writer, RowLayout source, string name)
    {
        var cut = Enumerable.Range(0, source.Rank).Where(d => d != source.RowAxis && Parts[d] is var p && (p.Start != 0 || p.Step != 1 || p.Count != source.Shape[d])).ToArray();
        if (cut.Length > 0)
            name = writer.Slice(name, [.. cut.Select(d => source.Axis(d))], [.. cut.Select(d => Parts[d].Start)], [.. cut.Select(d => Parts[d].Start + ((Parts[d].Count - 1) * Parts[d].Step) + 1)], [.. cut.Select(d => Parts[d].Step)]);
        long[] inGraph = [0, .. source.Fold > 1 ? [1L] : Array.Empty<long>()];
        var used = Sources.Where(s => s >= 0 && s != source.RowAxis).ToArray();
        var rest = Enumerable.Range(0, source.Rank).Where(d => d != source.RowAxis && !used.Contains(d)).ToArray();
        if (!used.SequenceEqual(used.Order()))
            name = writer.Transpose(name, [.. inGraph, .. used.Concat(rest).Select(d => (long)source.Axis(d))]);
        var (sizes, wanted) = (Cut(source), Layout.RowShape);
        var single = Layout.With([.. Layout.Shape.Select((size, d) => Sources[d] < 0 ? 1 : size)]).RowShape;
        if (!sizes.AsSpan().SequenceEqual(single) || !used.SequenceEqual(used.Order()))
            name = writer.Reshape(name, single);
        return single.AsSpan().SequenceEqual(wanted) ? name : writer.Expand(name, wanted);
    }

    private long[] Cut(RowLayout source) => source.With([.. source.Shape.Select((size, d) => d == source.RowAxis ? size : Parts[d].Count)]).RowShape;
}
