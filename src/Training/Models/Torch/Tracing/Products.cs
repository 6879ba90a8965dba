using MLDistributed.Protocol.Onnx;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Products of matrices, and attention.</summary>
internal static class Products
{
    public static Mapping MatMul(FunctionCall call)
    {
        var (left, right) = (call.Known((Tensor)call.Arguments[0]!), call.Known((Tensor)call.Arguments[1]!));
        if (left.Layout is { } a && right.Layout is { } b)
            return OfRows(left, a, right, b, call.Result);
        return right.Outside is { } matrix ? WithMatrix(left, matrix, right.Tensor.dim(), call.Result) : MatrixWith(left.Outside!, left.Tensor.dim(), right, call.Result);
    }

    public static Mapping Linear(FunctionCall call)
    {
        var layout = call.Input.Layout!;
        RequireColumns(layout, 1);
        var weight = TracedFunctions.Outside(call, "weight", "weights") ?? throw new NotTracedException("has no weights");
        var bias = TracedFunctions.Outside(call, "bias");
        return call.Unary((w, x) => w.Project(x, weight.Compute(w.Current), bias?.Compute(w.Current)));
    }

    /// <summary>Vaswani et al. 2017: softmax(q k^T / sqrt(size)) v.</summary>
    public static Mapping Attention(FunctionCall call)
    {
        var (q, k, v) = (call.Rows((Tensor)call.Arguments[0]!), call.Rows((Tensor)call.Arguments[1]!), call.Rows((Tensor)call.Arguments[2]!));
        if (call.Number("p", "dropout_p") is > 0)
            throw new NotTracedException("drops numbers when it is not being trained too");
        var layout = q.Layout!;
        if (layout.FromRight < 3 || k.Layout!.FromRight != layout.FromRight || v.Layout!.FromRight != layout.FromRight || k.Layout.Rank != layout.Rank)
            throw new NotTracedException("attends over rows");
        var (steps, keys) = (q.Tensor.shape[^2], k.Tensor.shape[^2]);
        var rowMask = call.Argument("attn_mask") is Tensor given && call.Known(given) is { Layout: not null } value ? value : null;
        if (rowMask is not null && (rowMask.Layout!.FromRight != layout.FromRight || rowMask.Layout.Fold != layout.Fold || rowMask.Layout.Rank != layout.Rank))
            throw new NotTracedException("has a mask whose rows are in another dimension, expected those of its scores");
        var maskType = rowMask?.Tensor.dtype ?? ScalarType.Float32;
        var mask = rowMask is null ? TracedFunctions.Outside(call, "attn_mask") : null;
        if (call.Flag("is_casual", "is_causal"))
            mask = new FixedValue(ones(steps, keys, dtype: ScalarType.Bool).tril());
        var scale = call.Number("scale") ?? (1 / Math.Sqrt(q.Tensor.shape[^1]));
        return new Mapping(rowMask is null ? [q, k, v] : [q, k, v, rowMask], layout.With(call.Result.shape), (w, names) => Attend(w, names[0], names[1], names[2], scale, layout.GraphShape.Length,
            (writer, scores) => rowMask is not null ? writer.Node("Add", [scores, Additive(writer, names[3], maskType)])
                : mask is null ? scores : writer.Node("Add", [scores, writer.Beside(Additive(mask), layout.With([.. layout.Shape[..^1], keys]))])));
    }

    // The same of a mask that rows have.
    private static string Additive(TraceWriter writer, string mask, ScalarType type) =>
        Comparisons.IsTruth(type) ? writer.Node("Where", [mask, writer.Constant(0), writer.Constant(float.MinValue)]) : mask;

    /// <summary>Attention in a graph: the last two dimensions are steps and numbers.</summary>
    public static string Attend(TraceWriter writer, string q, string k, string v, double scale, int rank, Func<TraceWriter, string, string> hide) =>
        writer.Node("MatMul", [Shares(writer, q, k, scale, rank, hide), v]);

    /// <summary>What of each value is attended to.</summary>
    public static string Shares(TraceWriter writer, string q, string k, double scale, int rank, Func<TraceWriter, string, string> hide)
    {
        var scores = writer.Node("Mul", [writer.Node("MatMul", [q, writer.Transpose(k, Swapped(rank))]), writer.Constant((float)scale)]);
        return writer.Node("Softmax", [hide(writer, scores)], OnnxGraph.Integer("axis", -1));
    }

    /// <summary>A mask that is added to scores: of one that says which steps to attend to, 0 and the least number.</summary>
    private static OutsideValue Additive(OutsideValue mask) => new Elementwise.Derived(mask, m =>
        m.dtype == ScalarType.Bool ? m.logical_not().to(ScalarType.Float32).mul(float.MinValue) : m);

    private static long[] Swapped(int rank) => [.. Enumerable.Range(0, rank - 2).Select(d => (long)d), rank - 1, rank - 2];

    private static Mapping OfRows(TraceValue left, RowLayout a, TraceValue right, RowLayout b, Tensor result)
    {
        if (a.FromRight != b.FromRight || a.Fold != b.Fold || a.FromRight < 3)
            throw new NotTracedException($"multiplies [{string.Join(", ", a.Shape)}] by [{string.Join(", ", b.Shape)}] over rows");
        var layout = new RowLayout(result.shape, (int)result.dim() - a.FromRight, a.Fold);
        return new Mapping([left, right], layout, (w, names) => w.Node("MatMul", [Padded(w, names[0], a, layout), Padded(w, names[1], b, layout)]));
    }

    private static string Padded(TraceWriter writer, string name, RowLayout own, RowLayout layout) => own.Rank == layout.Rank ? name : writer.Reshape(name, own.Padded(layout.Rank).RowShape);

    private static Mapping WithMatrix(TraceValue left, OutsideValue right, long rank, Tensor result)
    {
        var layout = left.Layout!;
        RequireColumns(layout, 1);
        if (rank > 2)
            return Aligned(left, layout, right, rank, result, isRight: true);
        var made = layout.With(result.shape);
        return new Mapping([left], made, (w, names) =>
        {
            var matrix = right.Compute(w.Current);
            var product = w.Node("MatMul", [names[0], w.Constant(rank == 1 ? matrix.unsqueeze(1) : matrix, "weights")]);
            return rank == 1 ? w.Reshape(product, made.RowShape) : product;
        });
    }

    private static Mapping MatrixWith(OutsideValue left, long rank, TraceValue right, Tensor result)
    {
        var layout = right.Layout!;
        RequireColumns(layout, 2);
        return rank == 1 ? throw new NotTracedException("multiplies a vector by values of rows, expected a matrix") : Aligned(right, layout, left, rank, result, isRight: false);
    }

    // A constant of several matrices, or one to the left: as it lies beside the value's dimensions.
    private static Mapping Aligned(TraceValue value, RowLayout own, OutsideValue matrices, long rank, Tensor result, bool isRight)
    {
        if (own.FromRight < 3 || rank > own.Rank)
            throw new NotTracedException("multiplies a constant by values over rows");
        var layout = own.With(result.shape);
        return new Mapping([value], layout, (w, names) =>
        {
            var constant = w.Beside(matrices, own);
            return w.Node("MatMul", isRight ? [names[0], constant] : [constant, names[0]]);
        });
    }

    private static void RequireColumns(RowLayout layout, int count)
    {
        if (layout.FromRight <= count)
            throw new NotTracedException("multiplies over rows");
    }
}
