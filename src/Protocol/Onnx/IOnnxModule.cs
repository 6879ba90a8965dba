using MLDistributed.Protocol.Onnx;

namespace Microsoft.ML.Distributed;

/// <summary>A module of your own that says itself what its forward computes, where that cannot be seen from its layers.</summary>
/// <example><code>
/// sealed class Sizes : nn.Module&lt;Tensor, Tensor&gt;, IOnnxModule
/// {
///     private readonly Linear inner = nn.Linear(8, 8);
///
///     public Sizes() : base(nameof(Sizes)) => RegisterComponents();
///
///     public override Tensor forward(Tensor x) => x + inner.call(x).abs();
///
///     public OnnxValue ToOnnx(OnnxGraphBuilder graph, OnnxValue x) =>
///         graph.Add(x, graph.Node("Abs", [graph.Layer(nameof(inner), x)]));
/// }
/// </code></example>
public interface IOnnxModule
{
    /// <summary>Adds to a graph what this module's forward computes when it is not being trained.</summary>
    /// <param name="graph">The graph.</param>
    /// <param name="input">The module's input, [N, ...], of the type that forward takes: Float32, Int64 or Bool.</param>
    /// <returns>Its output, of the shape and type that forward returns. It is compared with that on random rows before the training starts.</returns>
    OnnxValue ToOnnx(OnnxGraphBuilder graph, OnnxValue input);
}

/// <summary>A value of a graph: an input, or what a node puts out.</summary>
/// <param name="Name">Its name in the graph.</param>
public readonly record struct OnnxValue(string Name);

/// <summary>Adds nodes of operator set 20 to the graph of a module. Rows are the first dimension of every value, and stay by themselves.</summary>
public sealed class OnnxGraphBuilder
{
    private readonly OnnxGraph _graph;
    private readonly Func<string, string, string> _layer;
    private readonly Func<string, string> _tensor;

    /// <summary>For the library itself.</summary>
    /// <param name="graph">The graph to add to.</param>
    /// <param name="layer">Adds a layer of the module, by its name, to a value.</param>
    /// <param name="tensor">A parameter or buffer of the module, by its name.</param>
    public OnnxGraphBuilder(OnnxGraph graph, Func<string, string, string> layer, Func<string, string> tensor) => (_graph, _layer, _tensor) = (graph, layer, tensor);

    /// <summary>What one of the module's own layers makes of a value.</summary>
    /// <param name="name">The name that it is registered by: with <c>RegisterComponents</c> that of its field, as <c>nameof(conv1)</c>.</param>
    /// <param name="input">The value.</param>
    /// <exception cref="ArgumentException">There is no such layer, or it maps to no operator.</exception>
    public OnnxValue Layer(string name, OnnxValue input) => new(_layer(name, input.Name));

    /// <summary>One of the module's own parameters or buffers.</summary>
    /// <param name="name">The name that it is registered by.</param>
    /// <exception cref="ArgumentException">There is none.</exception>
    public OnnxValue Tensor(string name) => new(_tensor(name));

    /// <summary>Numbers that never change.</summary>
    /// <param name="values">The numbers, the last dimension fastest.</param>
    /// <param name="shape">Their shape, without rows; none: a single number.</param>
    public OnnxValue Constant(ReadOnlySpan<float> values, params ReadOnlySpan<long> shape) => new(_graph.Constant(_graph.NewName("constant"), shape, values));

    /// <summary>Whole numbers that never change: places, axes, shapes, pads.</summary>
    /// <param name="values">The numbers.</param>
    public OnnxValue Integers(params ReadOnlySpan<long> values) => new(_graph.Integers(_graph.NewName("integers"), values));

    /// <summary>Any operator of the list in docs/own-modules.md.</summary>
    /// <param name="operation">Its name, as "LeakyRelu".</param>
    /// <param name="inputs">Its inputs.</param>
    /// <param name="attributes">Its attributes: int, long, float, double, string, or a list of int or long.</param>
    public OnnxValue Node(string operation, IEnumerable<OnnxValue> inputs, params IEnumerable<(string Name, object Value)> attributes) =>
        new(_graph.Node(operation, inputs.Select(i => i.Name), null, attributes.Select(Attribute)));

    /// <summary>The sum of two values, or of a value and a constant.</summary>
    public OnnxValue Add(OnnxValue left, OnnxValue right) => Node("Add", [left, right]);

    /// <summary>The product of two values, or of a value and a constant, number by number.</summary>
    public OnnxValue Multiply(OnnxValue left, OnnxValue right) => Node("Mul", [left, right]);

    /// <summary>max(x, 0).</summary>
    public OnnxValue Relu(OnnxValue input) => Node("Relu", [input]);

    /// <summary>Values side by side.</summary>
    /// <param name="axis">From 1: 0 counts rows.</param>
    /// <param name="inputs">The values.</param>
    public OnnxValue Concat(int axis, params IEnumerable<OnnxValue> inputs) => Node("Concat", inputs, ("axis", axis));

    /// <summary>The same numbers in another shape.</summary>
    /// <param name="input">The value.</param>
    /// <param name="shape">The shape of a row.</param>
    public OnnxValue Reshape(OnnxValue input, params ReadOnlySpan<long> shape) =>
        Node("Reshape", [input, Integers([0, .. shape])]);

    private static AttributeProto Attribute((string Name, object Value) attribute) => attribute.Value switch
    {
        int value => OnnxGraph.Integer(attribute.Name, value),
        long value => OnnxGraph.Integer(attribute.Name, value),
        float value => OnnxGraph.Number(attribute.Name, value),
        double value => OnnxGraph.Number(attribute.Name, value),
        string value => OnnxGraph.Text(attribute.Name, value),
        IEnumerable<int> values => OnnxGraph.List(attribute.Name, values.Select(v => (long)v)),
        IEnumerable<long> values => OnnxGraph.List(attribute.Name, values),
        _ => throw new ArgumentException($"Attribute \"{attribute.Name}\" is a {attribute.Value.GetType().Name}, expected int, long, float, double, string, or a list of int or long.", nameof(attribute)),
    };
}
