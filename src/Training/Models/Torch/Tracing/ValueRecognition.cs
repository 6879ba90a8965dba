using MLDistributed.Protocol.Onnx;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Tells functions between layers (functional.relu, x + y, ...) of code that is not watched by their values: on random rows, what equals relu of a known
/// value in every number is that. The graph is compared with the module afterwards, on other rows.
/// </summary>
internal static class ValueRecognition
{
    private const int ValuesLookedAt = 12;
    private const double Tolerance = 1e-6;

    private static readonly (Func<Tensor, Tensor?> Compute, Func<TraceWriter, string, string> Write)[] s_unary =
    [
        (x => nn.functional.relu(x), Activations.Relu),
        (x => nn.functional.gelu(x), Activations.Gelu("none")),
        (x => nn.functional.silu(x), Activations.Silu),
        (x => x.tanh(), Activations.Tanh),
        (x => x.sigmoid(), Activations.Sigmoid),
        (x => nn.functional.leaky_relu(x, 0.01), Activations.LeakyRelu(0.01)),
        (x => nn.functional.elu(x, 1), Activations.Elu(1)),
        (x => nn.functional.softmax(x, -1), (w, x) => w.Node("Softmax", [x], OnnxGraph.Integer("axis", -1))),
        (x => nn.functional.log_softmax(x, -1), (w, x) => w.Node("LogSoftmax", [x], OnnxGraph.Integer("axis", -1))),
        (x => x.dim() > 2 ? x.mean([.. Enumerable.Range(2, (int)x.dim() - 2).Select(d => (long)d)]) : null, (w, x) => w.Node("Flatten", [w.Node("GlobalAveragePool", [x])], OnnxGraph.Integer("axis", 1))),
        (x => x.dim() == 4 && x.shape[2] > 1 && x.shape[3] > 1 ? nn.functional.max_pool2d(x, 2) : null, (w, x) => w.Node("MaxPool", [x], OnnxGraph.List("kernel_shape", [2, 2]), OnnxGraph.List("strides", [2, 2]))),
        (x => x.dim() == 4 && x.shape[2] > 1 && x.shape[3] > 1 ? nn.functional.avg_pool2d(x, 2) : null, (w, x) => w.Node("AveragePool", [x], OnnxGraph.List("kernel_shape", [2, 2]), OnnxGraph.List("strides", [2, 2]))),
    ];

    private static readonly (Func<Tensor, Tensor, Tensor> Compute, string Op)[] s_binary = [((a, b) => a.add(b), "Add"), ((a, b) => a.mul(b), "Mul"), ((a, b) => a.sub(b), "Sub"), ((a, b) => b.sub(a), "Sub")];

    /// <summary>How a value comes of those that were seen: up to two functions. Nothing, or one way.</summary>
    public static IEnumerable<(int[] Inputs, Func<TraceWriter, string[], string> Write)> Find(Tensor target, IReadOnlyList<TraceValue> seen)
    {
        using var scope = NewDisposeScope();
        var first = Once(seen).ToList();
        foreach (var candidate in first)
            if (IsSame(candidate.Value, target))
                return [(candidate.Inputs, candidate.Write)];
        foreach (var candidate in first)
        {
            foreach (var (compute, write) in s_unary)
                if (compute(candidate.Value) is { } value && IsSame(value, target))
                    return [(candidate.Inputs, (writer, inputs) => write(writer, candidate.Write(writer, inputs)))];
        }

        return [];
    }

    private static IEnumerable<Candidate> Once(IReadOnlyList<TraceValue> seen)
    {
        var latest = seen.Reverse().Take(ValuesLookedAt).Append(seen[0]).DistinctBy(v => v.Number).ToList();
        foreach (var one in latest)
        {
            yield return new Candidate([one.Number], one.Tensor, (_, inputs) => inputs[0]); // a copy
            foreach (var (compute, write) in s_unary)
                if (compute(one.Tensor) is { } value)
                    yield return new Candidate([one.Number], value, (writer, inputs) => write(writer, inputs[0]));
        }

        foreach (var (i, left) in latest.Index())
        {
            foreach (var right in latest.Skip(i))
            {
                if (!left.Tensor.shape.AsSpan().SequenceEqual(right.Tensor.shape))
                    continue;
                foreach (var (number, (compute, op)) in s_binary.Index())
                {
                    int[] inputs = number == 3 ? [right.Number, left.Number] : [left.Number, right.Number];
                    yield return new Candidate(inputs, compute(left.Tensor, right.Tensor), (writer, names) => writer.Node(op, names));
                }
            }
        }
    }

    private static bool IsSame(Tensor value, Tensor target) =>
        value.shape.AsSpan().SequenceEqual(target.shape) && value.sub(target).abs().max().ToSingle() <= Tolerance * Math.Max(1, target.abs().max().ToSingle());

    private sealed record Candidate(int[] Inputs, Tensor Value, Func<TraceWriter, string[], string> Write);
}
