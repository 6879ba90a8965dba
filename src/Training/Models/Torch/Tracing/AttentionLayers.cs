using MLDistributed.Protocol.Onnx;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// Multi-head attention and encoders of it (Vaswani et al. 2017), as libtorch has them: steps before rows, and normalisation behind
/// each sum. They do not tell their number of heads, nor the activation: what fits their result, of numbers of ours, is found by trying.
/// </summary>
internal static class AttentionLayers
{
    private const double Epsilon = 1e-5;

    public static IEnumerable<(Mapping? Mapping, string? Why)> Of(StepCall call) => call.Layer is MultiheadAttention ? Attention(call) : [(Encoder(call), null)];

    private static IEnumerable<(Mapping? Mapping, string? Why)> Attention(StepCall call)
    {
        var (query, key, value) = (call.Rows(1, 1), call.Rows(2, 1), call.Rows(3, 1));
        if (!call.Parameters.TryGetValue("in_proj_weight", out var weights) || call.Parameters.ContainsKey("bias_k"))
            throw new NotTracedException("has keys or values of another size, or a bias beside them");
        var masks = new AttentionMasks(call, 6, 4);
        var size = weights.shape[1];
        var probe = Probe(query.Tensor);
        var told = ((MultiheadAttention)call.Layer).forward(probe, probe, probe, null, false, null).Item1;
        var heads = Heads(size).MinBy(h => Distance(Attend(probe, call.Parameters, "", h), told));
        var layout = query.Layout!;
        yield return (new Mapping([query, key, value, .. masks.OfRows], layout.With(call.Outputs[0].shape),
            (writer, names) => Block(call, writer, names[..3], "", heads, size, layout, masks.Hiding(names[3..]))), null);
        if (call.Outputs.Length == 2)
            yield return (new Mapping([query, key, .. masks.OfRows], new RowLayout(call.Outputs[1].shape, 0), (writer, names) =>
            {
                var (q, k) = (Head(call, writer, names[0], "", 0, heads, size), Head(call, writer, names[1], "", 1, heads, size));
                return writer.Reduce("ReduceMean", Products.Shares(writer, q, k, 1 / Math.Sqrt((double)size / heads), 4, masks.Hiding(names[2..])), [1], keeps: false);
            }), null);
    }

    private static Mapping Encoder(StepCall call)
    {
        var input = call.Rows(1, 1);
        var masks = new AttentionMasks(call, 2, 3);
        var prefixes = call.Layer is TransformerEncoder ? call.Parameters.Keys.Where(n => n.EndsWith("linear1.weight", StringComparison.Ordinal)).Select(n => n[..^"linear1.weight".Length]).ToArray() : [""];
        var size = input.Tensor.shape[2];
        if (call.Layer is TransformerEncoder && call.Parameters.ContainsKey("norm.weight"))
            throw new NotTracedException("has a normalisation of its own");
        var probe = Probe(input.Tensor);
        var told = call.Layer is TransformerEncoder encoder ? encoder.forward(probe, null, null) : ((TransformerEncoderLayer)call.Layer).forward(probe);
        var (heads, isGelu) = Heads(size).SelectMany(h => new[] { (h, false), (h, true) }).MinBy(way =>
            Distance(prefixes.Aggregate(probe, (x, prefix) => Layer(x, call.Parameters, prefix, way.Item1, way.Item2)), told));
        var layout = input.Layout!;
        return new Mapping([input, .. masks.OfRows], layout.With(call.Outputs[0].shape), (writer, names) => prefixes.Aggregate(names[0], (x, prefix) =>
        {
            x = Norm(call, writer, writer.Node("Add", [x, Block(call, writer, [x, x, x], $"{prefix}self_attn.", heads, size, layout, masks.Hiding(names[1..]))]), $"{prefix}norm1.");
            var up = writer.Project(x, call.Parameter(writer, $"{prefix}linear1.weight"), call.Parameter(writer, $"{prefix}linear1.bias"));
            var active = isGelu ? writer.Node("Gelu", [up], OnnxGraph.Text("approximate", "none")) : writer.Node("Relu", [up]);
            var down = writer.Project(active, call.Parameter(writer, $"{prefix}linear2.weight"), call.Parameter(writer, $"{prefix}linear2.bias"));
            return Norm(call, writer, writer.Node("Add", [x, down]), $"{prefix}norm2.");
        }));
    }

    private static IEnumerable<long> Heads(long size) => Enumerable.Range(1, (int)size).Where(h => size % h == 0).Select(h => (long)h);

    // Not what the layer was given: where a mask hides all keys but one, all numbers of heads give the same.
    private static Tensor Probe(Tensor given)
    {
        using var generator = new Generator(1);
        return randn([5, 2, given.shape[2]], generator: generator).to(given.device);
    }

    private static float Distance(Tensor one, Tensor other) => one.sub(other).abs().max().ToSingle();

    // The graph: [rows, steps, numbers].
    private static string Block(StepCall call, TraceWriter writer, string[] inputs, string prefix, long heads, long size, RowLayout layout, Func<TraceWriter, string, string> hide)
    {
        var parts = inputs.Select((x, i) => Head(call, writer, x, prefix, i, heads, size)).ToArray();
        var mixed = Products.Attend(writer, parts[0], parts[1], parts[2], 1 / Math.Sqrt((double)size / heads), 4, hide);
        var joined = writer.Reshape(writer.Transpose(mixed, [0, 2, 1, 3]), [layout.Shape[0], size]);
        return writer.Project(joined, call.Parameter(writer, $"{prefix}out_proj.weight"), call.Parameters.ContainsKey($"{prefix}out_proj.bias") ? call.Parameter(writer, $"{prefix}out_proj.bias") : null);
    }

    // Query, key or value: [rows, heads, steps, numbers].
    private static string Head(StepCall call, TraceWriter writer, string x, string prefix, int part, long heads, long size)
    {
        var weight = call.Parameter(writer, $"{prefix}in_proj_weight").narrow(0, part * size, size);
        var bias = call.Parameters.ContainsKey($"{prefix}in_proj_bias") ? call.Parameter(writer, $"{prefix}in_proj_bias").narrow(0, part * size, size) : null;
        return writer.Transpose(writer.Reshape(writer.Project(x, weight, bias), [call.Steps[part], heads, size / heads]), [0, 2, 1, 3]);
    }

    private static string Norm(StepCall call, TraceWriter writer, string x, string prefix) => writer.Node("LayerNormalization",
        [x, writer.Constant(call.Parameter(writer, $"{prefix}weight")), writer.Constant(call.Parameter(writer, $"{prefix}bias"))], OnnxGraph.Integer("axis", -1), OnnxGraph.Number("epsilon", Epsilon));

    private static Tensor Layer(Tensor x, Dictionary<string, Tensor> parameters, string prefix, long heads, bool isGelu)
    {
        x = Norm(x.add(Attend(x, parameters, $"{prefix}self_attn.", heads)), $"{prefix}norm1.");
        var up = nn.functional.linear(x, parameters[$"{prefix}linear1.weight"], parameters[$"{prefix}linear1.bias"]);
        return Norm(x.add(nn.functional.linear(isGelu ? nn.functional.gelu(up) : nn.functional.relu(up), parameters[$"{prefix}linear2.weight"], parameters[$"{prefix}linear2.bias"])), $"{prefix}norm2.");

        Tensor Norm(Tensor sum, string norm) => nn.functional.layer_norm(sum, [sum.shape[^1]], parameters[$"{norm}weight"], parameters[$"{norm}bias"], Epsilon);
    }

    private static Tensor Attend(Tensor x, Dictionary<string, Tensor> parameters, string prefix, long heads)
    {
        var size = x.shape[2];
        var (q, k, v) = (Part(0), Part(1), Part(2));
        var mixed = q.matmul(k.transpose(-2, -1)).div(Math.Sqrt((double)size / heads)).softmax(-1).matmul(v);
        return nn.functional.linear(mixed.permute(2, 0, 1, 3).reshape(x.shape), parameters[$"{prefix}out_proj.weight"], parameters.GetValueOrDefault($"{prefix}out_proj.bias"));

        // [rows, heads, steps, numbers]
        Tensor Part(int part) => nn.functional.linear(x, parameters[$"{prefix}in_proj_weight"].narrow(0, part * size, size), parameters.GetValueOrDefault($"{prefix}in_proj_bias")?.narrow(0, part * size, size))
            .view(x.shape[0], x.shape[1], heads, size / heads).permute(1, 2, 0, 3);
    }
}
