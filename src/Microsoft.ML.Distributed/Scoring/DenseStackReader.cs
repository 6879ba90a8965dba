using System.Runtime.InteropServices;
using MLDistributed.Protocol.Onnx;
using static MLDistributed.Protocol.Onnx.OnnxMlpWriter;

namespace Microsoft.ML.Distributed;

/// <summary>Walks a graph node by node and gives up at the first that <see cref="OnnxMlpWriter"/> would not write there.</summary>
internal sealed class DenseStackReader(GraphProto graph)
{
    private readonly Dictionary<string, TensorProto> _constants = graph.Initializer.ToDictionary(t => t.Name, StringComparer.Ordinal);
    private readonly List<DenseLayer> _layers = [];
    private int _next;
    private string _current = Features;

    public DenseStack? TryRead()
    {
        try
        {
            return Read();
        }
        catch (Exception e) when (e is NotOurs or KeyNotFoundException or ArgumentException)
        {
            return null;
        }
    }

    private DenseStack Read()
    {
        var (mean, scale) = ReadInputs();
        while (Peek() is "Gemm")
            ReadLayer();
        Expect(_layers.Count > 0 && _layers[^1].Activation == LayerActivation.None && !_layers[^1].IsNormalized);
        Expect(_layers.SkipLast(1).All(l => l.Activation != LayerActivation.None));
        Expect(_layers.Zip(_layers.Skip(1)).All(p => p.First.Outputs == p.Second.Inputs));
        Expect(mean is null || mean.Length == _layers[0].Inputs);
        return new DenseStack(mean, scale, [.. _layers], ReadHead());
    }

    private (float[]? Mean, float[]? Scale) ReadInputs()
    {
        var missing = Take("IsNaN", 1).Output[0];
        var where = Take("Where", 3, dataInput: 2, input: Features);
        Expect(where.Input[0] == missing);
        var fill = Values(where.Input[1]);
        if (Peek() != "Sub")
        {
            Expect(fill is [0]);
            return (null, null);
        }

        var mean = Values(Take("Sub", 2).Input[1]);
        Expect(fill.AsSpan().SequenceEqual(mean));
        var scale = Values(Take("Mul", 2).Input[1]);
        Expect(scale.Length == mean.Length);
        return (mean, scale);
    }

    private void ReadLayer()
    {
        var gemm = Take("Gemm", 3);
        Expect(gemm.Attribute is [{ Name: "transB", I: 1 }]);
        var bias = Values(gemm.Input[2]);
        var weights = Values(gemm.Input[1]);
        Expect(_constants[gemm.Input[1]].Dims is [var rows, var columns] && rows == bias.Length && rows * columns == weights.Length);
        var layer = new DenseLayer(weights, bias, weights.Length / bias.Length);
        _layers.Add(layer);

        if (Peek() is "BatchNormalization")
        {
            var node = Take("BatchNormalization", 5);
            Expect(node.Attribute is [{ Name: "epsilon" }]);
            layer.FoldBatchNorm(Sized(node.Input[1]), Sized(node.Input[2]), Sized(node.Input[3]), Sized(node.Input[4]), node.Attribute[0].F);
        }
        else if (Peek() is "LayerNormalization")
        {
            var node = Take("LayerNormalization", 3);
            Expect(node.Attribute is [{ Name: "axis", I: -1 }, { Name: "epsilon" }]);
            layer.AddLayerNorm(Sized(node.Input[1]), Sized(node.Input[2]), node.Attribute[1].F);
        }

        if (Peek() is "Relu")
        {
            Take("Relu", 1);
            layer.Activation = LayerActivation.Relu;
        }
        else if (Peek() is "Gelu")
        {
            Expect(Take("Gelu", 1).Attribute is [{ Name: "approximate" } kind] && kind.S.ToStringUtf8() == "none");
            layer.Activation = LayerActivation.Gelu;
        }

        float[] Sized(string name) => Values(name) is { } values && values.Length == layer.Outputs ? values : throw new NotOurs();
    }

    private DenseStack.Head ReadHead()
    {
        var head = Peek() switch
        {
            "Softmax" => ReadSoftmax(),
            "Sigmoid" => ReadSigmoid(),
            _ => ReadValue(),
        };
        Expect(_next == graph.Node.Count);
        return head;
    }

    // Models of version 0.1 have no Clip behind either.
    private DenseStack.Head ReadSoftmax()
    {
        Expect(Take("Softmax", 1).Attribute is [{ Name: "axis", I: -1 }]);
        var least = Peek() is "Clip" ? Single(Take("Clip", 2).Input[1]) : 0;
        Expect(_current == Score);
        return new DenseStack.Head(true, Least: least);
    }

    // The score is the logit; what comes of it is not asked for.
    private DenseStack.Head ReadSigmoid()
    {
        Expect(_current == Score);
        Take("Sigmoid", 1);
        if (Peek() is "Clip")
            Take("Clip", 3);
        return new DenseStack.Head(false);
    }

    private DenseStack.Head ReadValue()
    {
        var head = new DenseStack.Head(false);
        if (Peek() is "Mul")
            head = new DenseStack.Head(false, Single(Take("Mul", 2).Input[1]), Single(Take("Add", 2).Input[1]));
        else
            Take("Identity", 1);
        Expect(_current == Score);
        return head;
    }

    private float Single(string name) => Values(name) is [var value] ? value : throw new NotOurs();

    private string? Peek() => _next < graph.Node.Count ? graph.Node[_next].OpType : null;

    // The next node, which must take the last one's output (at dataInput) and put out one value.
    private NodeProto Take(string op, int inputs, int dataInput = 0, string? input = null)
    {
        Expect(Peek() == op);
        var node = graph.Node[_next++];
        Expect(node.Domain.Length == 0 && node.Input.Count == inputs && node.Output.Count == 1 && node.Input[dataInput] == (input ?? _current));
        _current = node.Output[0];
        return node;
    }

    private float[] Values(string name)
    {
        var tensor = _constants[name];
        Expect(tensor.DataType == (int)TensorProto.Types.DataType.Float && BitConverter.IsLittleEndian);
        return MemoryMarshal.Cast<byte, float>(tensor.RawData.Span).ToArray();
    }

    private static void Expect(bool holds)
    {
        if (!holds)
            throw new NotOurs();
    }

    private sealed class NotOurs : Exception;
}
