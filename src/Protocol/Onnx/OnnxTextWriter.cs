using static MLDistributed.Protocol.Onnx.OnnxGraph;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Writes a trained text encoder as an ONNX model (opset 20).</summary>
/// <remarks>
/// Input "features" [N, tokens]: ids, 0 behind a text's last. Outputs are those of <see cref="OnnxMlpWriter"/>; where tokens are tagged
/// "score" is [N, tokens, classes], of which those behind the last token mean nothing. Ids beyond the vocabulary
/// count as its last; the first token counts even where it is 0, so that no row is empty.
/// </remarks>
public static class OnnxTextWriter
{
    // Far below any score, and no infinity: a row of these alone has a softmax too.
    private const float Hidden = 1e9f;

    /// <summary>Makes the model.</summary>
    /// <param name="spec">The job that trained it.</param>
    /// <param name="tensors">The tensors of <see cref="TextTensors.Of"/>, adapters added to the weights that they adapt.</param>
    /// <exception cref="ArgumentException">A tensor is missing or has another size.</exception>
    public static ModelProto Write(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        return Build(spec, new OnnxGraph(tensors));
    }

    /// <summary>The model without its numbers: what <see cref="OnnxTextReader"/> compares with.</summary>
    internal static ModelProto Skeleton(JobSpec spec) => Build(spec, new OnnxGraph(null));

    private static ModelProto Build(JobSpec spec, OnnxGraph graph)
    {
        var text = spec.Module?.Text ?? throw new ArgumentException("The job has no text encoder, expected Module.Text.", nameof(spec));
        return OnnxFrame.Build(spec, graph, "text", (input, output) => new Encoder(graph, text).Write(input, output));
    }

    private sealed class Encoder(OnnxGraph graph, TextSpec text)
    {
        private readonly long _tokens = text.InputSize;
        private readonly long _width = text.Width;

        public string Write(string input, string? output)
        {
            var ids = ToInteger(graph.Node("Clip", [input, Number("ids.least", 0), Number("ids.most", text.VocabularySize - 1)]));
            var mask = Mask(ids);
            var x = Flat(Norm(Embed(ids), TextTensors.EmbeddingNorm));
            var bias = Hide(mask);
            for (var i = 0; i < text.Layers; i++)
                x = Layer(x, bias, i);
            if (text.NormFirst)
                x = Norm(x, TextTensors.LastNorm);
            return text.Tags is null
                ? Linear(Pool(x, mask), TextTensors.Classifier, text.OutputSize, _width, output)
                : Reshape(Linear(x, TextTensors.Classifier, text.OutputSize, _width), "shape.tags", [-1, _tokens, text.OutputSize]);
        }

        // [N, tokens]: 1 where a token is.
        private string Mask(string ids)
        {
            var first = new float[_tokens];
            first[0] = 1;
            var present = ToNumber(graph.Node("Greater", [ids, graph.Integers("padding", [0])]));
            return graph.Node("Max", [present, graph.Constant("first", [_tokens], first)]);
        }

        // [N, 1, 1, tokens]: what is added to the scores of tokens.
        private string Hide(string mask)
        {
            var absent = graph.Node("Sub", [mask, Number("one", 1)]);
            return Reshape(graph.Node("Mul", [absent, Number("hidden", Hidden)]), "shape.scores", [-1, 1, 1, _tokens]);
        }

        private string Embed(string ids)
        {
            var words = graph.Node("Gather", [graph.Parameter(TextTensors.Words, text.VocabularySize, _width), ids]);
            var separators = ToNumber(graph.Node("Equal", [ids, graph.Integers("separator", [text.SeparatorId])]));
            var before = graph.Node("CumSum", [separators, graph.Integers("axis.tokens", [1])], null, Integer("exclusive", 1));
            var segments = graph.Node("Gather", [graph.Parameter(TextTensors.Segments, 2, _width), ToInteger(graph.Node("Min", [before, Number("segment.most", 1)]))]);
            var places = graph.Integers("places", [.. Enumerable.Range(0, text.InputSize).Select(i => (long)i)]);
            var positions = graph.Node("Gather", [graph.Parameter(TextTensors.Positions, text.Positions, _width), places]);
            return graph.Node("Add", [graph.Node("Add", [words, segments]), positions]);
        }

        private string Layer(string x, string bias, int layer)
        {
            var (first, second) = (TextTensors.InLayer(layer, "attention.output.LayerNorm"), TextTensors.InLayer(layer, "output.LayerNorm"));
            if (text.NormFirst)
            {
                x = graph.Node("Add", [x, Attention(Norm(x, first), bias, layer)]);
                return graph.Node("Add", [x, FeedForward(Norm(x, second), layer)]);
            }

            x = Norm(graph.Node("Add", [x, Attention(x, bias, layer)]), first);
            return Norm(graph.Node("Add", [x, FeedForward(x, layer)]), second);
        }

        private string Attention(string x, string bias, int layer)
        {
            var (query, key, value) = (Heads(x, layer, "query", [0, 2, 1, 3]), Heads(x, layer, "key", [0, 2, 3, 1]), Heads(x, layer, "value", [0, 2, 1, 3]));
            var scaled = graph.Node("Mul", [graph.Node("MatMul", [query, key]), Number("attention.scale", 1 / MathF.Sqrt(text.Width / text.Heads))]);
            var shares = graph.Node("Softmax", [graph.Node("Add", [scaled, bias])], null, Integer("axis", -1));
            var mixed = graph.Node("Transpose", [graph.Node("MatMul", [shares, value])], null, List("perm", [0, 2, 1, 3]));
            return Target(Flat(mixed), layer, "output");
        }

        // [N, heads, ...] in the order that is wanted.
        private string Heads(string x, int layer, string target, long[] order) =>
            graph.Node("Transpose", [Reshape(Target(x, layer, target), "shape.heads", [-1, _tokens, text.Heads, text.Width / text.Heads])], null, List("perm", order));

        private string FeedForward(string x, int layer)
        {
            var up = Target(x, layer, "up");
            var active = text.Activation == Activation.Gelu ? graph.Node("Gelu", [up], null, Text("approximate", "none")) : graph.Node("Relu", [up]);
            return Target(active, layer, "down");
        }

        private string Pool(string x, string mask)
        {
            var rows = Reshape(x, "shape.tokens", [-1, _tokens, _width]);
            if (text.Pooling == TextPooling.First)
            {
                var first = Flat(graph.Node("Gather", [rows, graph.Integers("first.token", [0])], null, Integer("axis", 1)));
                return graph.Node("Tanh", [Linear(first, TextTensors.Pooler, _width, _width)]);
            }

            var count = graph.Node("ReduceSum", [mask, "axis.tokens"], null, Integer("keepdims", 1));
            var shares = Reshape(graph.Node("Div", [mask, count]), "shape.shares", [-1, 1, _tokens]);
            return Flat(graph.Node("MatMul", [shares, rows]));
        }

        private string Target(string x, int layer, string target)
        {
            var (outputs, inputs) = TextTensors.SizeOf(text, target);
            return Linear(x, TextTensors.InLayer(layer, TextTensors.Targets[target]), outputs, inputs);
        }

        private string Linear(string x, string name, long outputs, long inputs, string? output = null) =>
            graph.Node("Gemm", [x, graph.Parameter($"{name}.weight", outputs, inputs), graph.Parameter($"{name}.bias", outputs)], output, Integer("transB", 1));

        private string Norm(string x, string name) => graph.Node("LayerNormalization",
            [x, graph.Parameter($"{name}.weight", _width), graph.Parameter($"{name}.bias", _width)], null, Integer("axis", -1), OnnxGraph.Number("epsilon", text.NormEpsilon));

        // [rows, width]: a linear layer takes matrices.
        private string Flat(string x) => Reshape(x, "shape.flat", [-1, _width]);

        private string Reshape(string x, string name, ReadOnlySpan<long> shape) => graph.Node("Reshape", [x, graph.IntegersOnce(name, shape)]);

        private string Number(string name, float value) => graph.ConstantOnce(name, value);

        private string ToInteger(string x) => graph.Node("Cast", [x], null, Integer("to", (long)TensorProto.Types.DataType.Int64));

        private string ToNumber(string x) => graph.Node("Cast", [x], null, Integer("to", (long)TensorProto.Types.DataType.Float));
    }
}
