namespace MLDistributed.Protocol.Onnx;

/// <summary>The categories of a multi-layer perceptron's rows: ids behind the numbers, each of which becomes a row of a table.</summary>
internal static class OnnxCategories
{
    /// <summary>Splits rows into their numbers and what their categories become, all [N, size]; without categories they stay as they are.</summary>
    /// <param name="graph">The graph to write to.</param>
    /// <param name="mlp">The network; null: another one.</param>
    /// <param name="rows">The rows, [N, inputs], without missing ones.</param>
    public static IReadOnlyList<string> Parts(OnnxGraph graph, MlpSpec? mlp, string rows)
    {
        if (mlp is null || mlp.Categories.Count == 0)
            return [rows];
        var parts = new List<string>();
        if (mlp.NumberSize > 0)
            parts.Add(Slice("numbers", 0, mlp.NumberSize));
        var ids = Known(graph, mlp, Slice("ids", mlp.NumberSize, mlp.InputSize));
        for (var i = 0; i < mlp.Categories.Count; i++)
        {
            var id = graph.Node("Gather", [ids, graph.Integers($"categories.{i}.place", [i])], null, OnnxGraph.Integer("axis", 1));
            var row = graph.Node("Gather", [graph.Parameter(CategorySpec.TableName(i), mlp.Categories[i].Rows, mlp.Categories[i].Width), id], null, OnnxGraph.Integer("axis", 0));
            parts.Add(graph.Node("Flatten", [row], null, OnnxGraph.Integer("axis", 1)));
        }

        return parts;

        string Slice(string name, int start, int end) => graph.Node("Slice", [rows, graph.Integers($"{name}.start", [start]), graph.Integers($"{name}.end", [end]), graph.IntegersOnce("columns", [1])]);
    }

    // What is no id of a category is one that it does not know: row 0.
    private static string Known(OnnxGraph graph, MlpSpec mlp, string ids)
    {
        var counts = graph.Constant("categories.rows", [mlp.Categories.Count], [.. mlp.Categories.Select(c => (float)c.Rows)]);
        var known = graph.Node("Where", [graph.Node("Less", [ids, counts]), ids, graph.Constant("categories.unknown", [], [0f])]);
        return graph.Node("Cast", [graph.Node("Relu", [known])], null, OnnxGraph.Integer("to", (long)TensorProto.Types.DataType.Int64));
    }
}
