using MLDistributed.Protocol.Onnx;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Values in other shapes, parts of them, and values side by side.</summary>
internal static class Parts
{
    public static Mapping Reshape(FunctionCall call) => Reshape(call.Input, call.Result);

    /// <summary>The same numbers in another shape.</summary>
    public static Mapping Reshape(TraceValue input, Tensor result)
    {
        var from = input.Layout!;
        var to = from.Reshaped(result.shape);
        return new Mapping([input], to, (w, names) =>
        {
            var name = names[0];
            if (from.Fold == to.Fold || from.Before.Length == 0)
                return from.RowShape.AsSpan().SequenceEqual(to.RowShape) ? name : w.Reshape(name, to.RowShape);
            // What is behind a row goes to it, or from it, past the dimensions before.
            var (before, behind) = (RowLayout.Product(from.Before), RowLayout.Product(from.Behind));
            name = w.Transpose(w.Reshape(name, [from.Fold, before, behind]), [0, 2, 1, 3]);
            name = w.Reshape(name, [before, to.Fold, RowLayout.Product(to.Behind)]);
            return w.Reshape(w.Transpose(name, [0, 2, 1, 3]), to.RowShape);
        });
    }

    /// <summary>A part of the first argument's memory, in another order; null: the result is none.</summary>
    public static unsafe Mapping? View(FunctionCall call)
    {
        if (call.Arguments[0] is not Tensor source || call.Known(source) is not { Layout: { } layout } input || source.dtype != call.Result.dtype)
            return null;
        var bytes = (byte*)Native.TorchMemory.Data(call.Result) - (byte*)Native.TorchMemory.Data(source);
        var reach = source.shape.Zip(source.stride(), (size, stride) => (size - 1) * stride).Sum() * source.ElementSize;
        if (bytes < 0 || bytes > reach || bytes % source.ElementSize != 0)
            return null;
        var view = StridedView.Of(layout, source.stride(), call.Result.shape, call.Result.stride(), bytes / source.ElementSize);
        return new Mapping([input], view.Layout, (w, names) => view.Write(w, layout, names[0]));
    }

    public static Mapping Concat(FunctionCall call, long dimension) => Concat(call, Given(call), call.Result, dimension);

    public static Mapping Stack(FunctionCall call)
    {
        var given = Given(call);
        var rank = (int)call.Result.dim();
        var dimension = (int)((call.Integer("dim") ?? 0) is var d && d < 0 ? d + rank : d);
        var parts = Array.ConvertAll(given, g => g.unsqueeze(dimension));
        var layouts = Array.ConvertAll(given, g => call.Known(g).Layout is { } own ? own with { Shape = Inserted(own.Shape, dimension), RowAxis = own.RowAxis + (dimension <= own.RowAxis ? 1 : 0) } : null);
        return Concat(call, given, call.Result, dimension, layouts, parts);
    }

    public static Mapping Repeat(FunctionCall call)
    {
        var layout = call.Input.Layout!;
        var times = call.Dimensions("repeats", "reps", "sizes", "dims") ?? throw new NotTracedException("repeats in a way that is not known");
        times = [.. Enumerable.Repeat(1L, Math.Max(0, layout.Rank - times.Length)), .. times];
        var padded = layout.Padded(times.Length);
        if (times[padded.RowAxis] != 1)
            throw new NotTracedException("repeats rows");
        return new Mapping([call.Input], padded.With(call.Result.shape), (w, names) =>
        {
            var name = padded.Rank == layout.Rank ? names[0] : w.Reshape(names[0], padded.RowShape);
            foreach (var (d, count) in times.Index().Where(t => t.Item > 1))
                name = w.Node("Concat", [.. Enumerable.Repeat(name, (int)count)], OnnxGraph.Integer("axis", padded.Axis(d)));
            return name;
        });
    }

    /// <summary>Each entry of a dimension some times, one behind the other: of that of the rows, so that a row has as many of them.</summary>
    public static Mapping RepeatEach(FunctionCall call)
    {
        var layout = call.Input.Layout!;
        if (call.Argument("repeats") is not (long or int) || call.Integer("dim") is not { } dimension)
            throw new NotTracedException("repeats by a tensor, or over all dimensions at once, expected a number and a dimension");
        var (times, rows) = ((int)call.Integer("repeats")!.Value, (dimension < 0 ? dimension + layout.Rank : dimension) == layout.RowAxis);
        var axis = rows ? 1 : layout.Axis(dimension);
        var to = new RowLayout(call.Result.shape, layout.RowAxis, rows ? layout.Fold * times : layout.Fold);
        // In the graph the entries that a row has of its dimension are the next one.
        var shape = rows && layout.Fold == 1 ? [1, .. layout.RowShape] : layout.RowShape;
        return call.AsItIs((w, x) =>
        {
            var apart = w.Reshape(x, [.. shape[..axis], 1, .. shape[axis..]]);
            return w.Reshape(w.Node("Concat", [.. Enumerable.Repeat(apart, times)], OnnxGraph.Integer("axis", axis + 1)), to.RowShape);
        }) with { Layout = to };
    }

    private static Tensor[] Given(FunctionCall call) => [.. OutsideValue.Tensors(call.Arguments[0])];

    private static long[] Inserted(long[] shape, int dimension) => [.. shape[..dimension], 1, .. shape[dimension..]];

    private static Mapping Concat(FunctionCall call, Tensor[] given, Tensor result, long dimension, RowLayout?[]? layouts = null, Tensor[]? parts = null)
    {
        var values = Array.ConvertAll(given, g => call.Known(g));
        layouts ??= Array.ConvertAll(values, v => v.Layout);
        parts ??= given;
        var rows = layouts.First(l => l is not null)!;
        if (layouts.Any(l => l is not null && (l.RowAxis != rows.RowAxis || l.Fold != rows.Fold)) || values.Any(v => v.Tensor.dtype != ScalarType.Float32))
            throw new NotTracedException("joins values whose rows are other dimensions, or that are no floats");
        var layout = rows.With(result.shape);
        var axis = layout.Axis(dimension);
        var shapes = Array.ConvertAll(parts, p => p.shape);
        return new Mapping([.. values.Where(v => v.Layout is not null)], layout, (w, names) =>
        {
            var next = 0;
            return w.Node("Concat", [.. values.Select((v, i) => v.Layout is { } own
                ? own.Rank == layout.Rank ? names[next++] : w.Reshape(names[next++], layouts[i]!.RowShape)
                : w.ForEachRow(new Elementwise.Derived(v.Outside!, t => t.reshape(shapes[i])), layout.With(shapes[i])))], OnnxGraph.Integer("axis", axis));
        });
    }
}
