namespace MLDistributed.Protocol.Onnx;

/// <summary>The model of a module with several inputs, as others are to have it: with an input for each, and its outputs by the names of their columns.</summary>
public static class OnnxNamedColumns
{
    /// <summary>The model with an input for each of a module's, [N, size], numbers as Float, ids as Int64; and an output for each column.</summary>
    /// <param name="model">The model, whose input is all features of a row; it is changed.</param>
    /// <param name="inputs">The module's inputs, in their order.</param>
    /// <param name="columns">What its outputs are called, in their order; none: they have their names.</param>
    public static ModelProto Split(ModelProto model, IReadOnlyList<ModuleInput> inputs, IReadOnlyList<string> columns)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(inputs);
        ArgumentNullException.ThrowIfNull(columns);
        var graph = model.Graph;
        var names = inputs.Select(i => i.Name).Concat(columns).ToHashSet(StringComparer.Ordinal);
        var outputs = columns.Index().ToDictionary(c => OnnxFrame.OutputName(c.Index), c => c.Item, StringComparer.Ordinal);
        // What is inside gives way to what a user has named.
        foreach (var node in graph.Node)
        {
            Rename(node.Input);
            Rename(node.Output);
        }

        foreach (var tensor in graph.Initializer)
            tensor.Name = Renamed(tensor.Name);
        foreach (var output in graph.Output)
            output.Name = Renamed(output.Name);

        var parts = inputs.Select(i => i.KeyCount == 0 ? i.Name : $"{i.Name}.numbers").ToArray();
        var casts = inputs.Where(i => i.KeyCount > 0).Select(i => new NodeProto
        {
            OpType = "Cast",
            Name = $"{i.Name}.cast",
            Input = { i.Name },
            Output = { $"{i.Name}.numbers" },
            Attribute = { OnnxGraph.Integer("to", (long)TensorProto.Types.DataType.Float) },
        });
        NodeProto[] nodes =
        [
            .. casts,
            new NodeProto { OpType = "Concat", Name = "inputs", Input = { parts }, Output = { Renamed(OnnxMlpWriter.Features) }, Attribute = { OnnxGraph.Integer("axis", 1) } },
            .. graph.Node,
        ];
        graph.Node.Clear();
        graph.Node.AddRange(nodes);
        graph.Input.Clear();
        graph.Input.AddRange(inputs.Select(i => OnnxFrame.Rows(i.Name, i.KeyCount > 0 ? TensorProto.Types.DataType.Int64 : TensorProto.Types.DataType.Float, i.Size)));
        return model;

        string Renamed(string name) => outputs.TryGetValue(name, out var column) ? column : names.Contains(name) ? $"{name}.inside" : name;

        void Rename(IList<string> values)
        {
            for (var i = 0; i < values.Count; i++)
                values[i] = Renamed(values[i]);
        }
    }
}
