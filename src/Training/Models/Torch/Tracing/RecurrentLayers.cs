using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>LSTM, GRU and Elman's network: a node for each layer, with weights in ONNX's order of gates.</summary>
internal static class RecurrentLayers
{
    // Where in libtorch's order ONNX's gates are: LSTM i, o, f, c of i, f, c, o; GRU z, r, h of r, z, h.
    private static int[] Gates(nn.Module layer) => layer switch { LSTM => [0, 3, 1, 2], GRU => [1, 0, 2], _ => [0] };

    public static IEnumerable<(Mapping? Mapping, string? Why)> Of(StepCall call)
    {
        var names = call.Parameters.Keys.ToList();
        var (layers, directions) = (names.Count(n => n.StartsWith("weight_ih_l", StringComparison.Ordinal) && !n.EndsWith("_reverse", StringComparison.Ordinal)), names.Exists(n => n.EndsWith("_reverse", StringComparison.Ordinal)) ? 2 : 1);
        var hidden = call.Parameters["weight_hh_l0"].shape[1];
        var (output, state) = (call.Outputs[0], call.Outputs[1]);
        var given = (Tensor)call.Arguments[1]!;
        if (state.dim() != 3)
            throw new NotTracedException("takes one sequence, expected those of rows");
        // The other dimension's size is that of the steps.
        var isRowsFirst = call.Known(given).Layout is { RowAxis: 0 };
        var (rows, steps) = isRowsFirst ? (given.shape[0], given.shape[1]) : (given.shape[1], given.shape[0]);
        if (state.shape[1] != rows)
            throw new NotTracedException($"takes [{string.Join(", ", given.shape)}] with dimension {(isRowsFirst ? 0 : 1)} as steps, which counts rows; say {(isRowsFirst ? "batchFirst: true" : "batchFirst: false")}");
        var input = call.Rows(1, isRowsFirst ? 0 : 1);
        foreach (var start in OutsideValue.Tensors(call.Arguments[2]))
            if (call.Known(start) is not { Outside: FixedValue } || start.abs().max().ToSingle() != 0)
                throw new NotTracedException("begins with a state that is not 0, expected none given");
        var isRectified = call.Layer is RNN && IsRectified(call, given, output, layers, directions, isRowsFirst);

        var number = input.Number;
        var of = new List<int>();
        for (var l = 0; l < layers; l++)
        {
            var (layer, isFirst) = (l, l == 0);
            number = call.AddHidden([number], (writer, inputs) =>
            {
                var x = isFirst ? inputs[0] : writer.Reshape(inputs[0], [steps, directions * hidden]);
                return Write(call, writer, writer.Transpose(x, [1, 0, 2]), layer, directions, hidden, isRectified);
            });
            of.Add(number);
        }

        yield return (new Mapping([input with { Number = of[^1] }], input.Layout!.With(output.shape), (writer, inputs) => writer.Reshape(inputs[0], [steps, directions * hidden])), null);
        yield return (new Mapping([.. of.Select(n => input with { Number = n })], new RowLayout(state.shape, 1), (writer, inputs) => Last(writer, inputs, steps, directions, hidden)), null);
        if (call.Outputs.Length > 2)
            yield return (null, "its cell state maps to no operator; use its output or its hidden state");
    }

    // [steps, rows, inputs] to [rows, steps, directions, hidden].
    private static string Write(StepCall call, TraceWriter writer, string x, int layer, int directions, long hidden, bool isRectified)
    {
        var op = call.Layer switch { LSTM => "LSTM", GRU => "GRU", _ => "RNN" };
        var suffixes = Enumerable.Range(0, directions).Select(d => d == 0 ? $"l{layer}" : $"l{layer}_reverse").ToArray();
        var hasBias = call.Parameters.ContainsKey($"bias_ih_{suffixes[0]}");
        List<string> inputs = [x, Joined("weight_ih"), Joined("weight_hh")];
        if (hasBias)
            inputs.Add(writer.Constant(stack(suffixes.Select(s => cat([Ordered($"bias_ih_{s}"), Ordered($"bias_hh_{s}")])).ToArray()), "bias"));
        List<AttributeProto> attributes = [OnnxGraph.Integer("hidden_size", hidden), OnnxGraph.Text("direction", directions == 2 ? "bidirectional" : "forward")];
        if (call.Layer is GRU)
            attributes.Add(OnnxGraph.Integer("linear_before_reset", 1));
        if (isRectified)
            attributes.Add(OnnxGraph.Texts("activations", Enumerable.Repeat("Relu", directions)));
        return writer.Transpose(writer.Node(op, [.. inputs], attributes), [2, 0, 1, 3]);

        string Joined(string name) => writer.Constant(stack(suffixes.Select(s => Ordered($"{name}_{s}")).ToArray()), "weights");

        Tensor Ordered(string name)
        {
            var parts = call.Parameter(writer, name).split(hidden);
            return cat(Gates(call.Layer).Select(g => parts[g]).ToArray());
        }
    }

    // Each layer's and direction's last step: of the one that goes backward the first.
    private static string Last(TraceWriter writer, string[] layers, long steps, int directions, long hidden)
    {
        var states = layers.SelectMany(name => Enumerable.Range(0, directions).Select(d =>
            writer.Reshape(writer.Slice(name, [1, 2], d == 0 ? [steps - 1, 0] : [0, 1], d == 0 ? [steps, 1] : [1, 2], [1, 1]), [1, hidden]))).ToArray();
        return states.Length == 1 ? states[0] : writer.Node("Concat", states, OnnxGraph.Integer("axis", 1));
    }

    // The layer does not say. A rectifier's numbers are never below 0; where none is, one of either kind is asked.
    private static bool IsRectified(StepCall call, Tensor given, Tensor output, long layers, int directions, bool isRowsFirst)
    {
        if (output.min().ToSingle() < 0)
            return false;
        return Difference(nn.NonLinearities.ReLU) < Difference(nn.NonLinearities.Tanh);

        float Difference(nn.NonLinearities kind)
        {
            var (hidden, hasBias) = (call.Parameters["weight_hh_l0"].shape[1], call.Parameters.ContainsKey("bias_ih_l0"));
            using var like = nn.RNN(given.shape[2], hidden, layers, kind, hasBias, isRowsFirst, bidirectional: directions == 2);
            like.eval();
            foreach (var (name, parameter) in like.named_parameters())
                parameter.copy_(call.Parameters[name]);
            return like.call(given).Item1.sub(output).abs().max().ToSingle();
        }
    }
}
