using System.Numerics;

namespace MLDistributed.Protocol.Onnx;

/// <content>Values in other shapes, parts of them, and sums over parts.</content>
internal sealed partial class OnnxOperators
{
    private OnnxStep Reshape()
    {
        var input = Row(0);
        var dims = input.Dims;
        if (node.OpType == "Flatten")
        {
            Inputs(1, 1);
            if (attributes.Integer("axis", 1) != 1)
                throw new FormatException("flattens rows too");
            dims = [input.Length];
        }
        else if (node.OpType == "Reshape")
        {
            Inputs(2, 2);
            var shape = integers(node.Input[1]).ToArray();
            if (Array.IndexOf(shape, -1) is var inferred and > 0)
                shape[inferred] = input.Length / Math.Max(1, shape.Where((_, i) => i > 0 && i != inferred).Aggregate(1, (a, b) => checked(a * b)));
            if (shape.Length < 2 || shape[0] != 0 || shape.Skip(1).Any(d => d < 1) || shape.Skip(1).Aggregate(1L, (a, b) => checked(a * b)) != input.Length)
                throw new FormatException($"makes [{string.Join(", ", shape.Take(8))}] of [N, {string.Join(", ", input.Dims)}], expected 0 for the rows and as many numbers");
            dims = shape[1..];
        }

        return new CopyStep(input.Slot, Output(dims).Slot);
    }

    // Rows may go to another place, for a recurrence alone: a row's numbers stay where they are.
    private OnnxStep Transpose()
    {
        Inputs(1, 1);
        var input = Any(0);
        var rank = input.Dims.Length + 1;
        var order = attributes.List("perm", rank, []);
        if (input.IsConstant || order.Length != rank || !order.Order().SequenceEqual(Enumerable.Range(0, rank)))
            throw new FormatException($"orders axes as [{string.Join(", ", order)}], expected each once");
        var axes = order.Where(o => o != input.RowAxis).Select(o => o < input.RowAxis ? o : o - 1).ToArray();
        var strides = OnnxShape.Strides(input.Dims);
        var dims = axes.Select(a => input.Dims[a]).ToArray();
        return new GatherStep(input.Slot, Output(dims, Array.IndexOf(order, input.RowAxis)).Slot, OnnxShape.Offsets(dims, [.. axes.Select(a => strides[a])]));
    }

    // An axis as it counts without the rows.
    private int Axis(int axis, int rank)
    {
        var own = axis < 0 ? rank + axis : axis - 1;
        return own >= 0 && own < rank ? own : throw new FormatException($"is over axis {axis}, expected one of a row's {rank}");
    }

    private OnnxStep Slice()
    {
        Inputs(4, 5);
        var input = Row(0);
        var (starts, ends, axes) = (integers(node.Input[1]), integers(node.Input[2]), integers(node.Input[3]));
        var steps = node.Input.Count > 4 ? integers(node.Input[4]) : [.. axes.Select(_ => 1)];
        if (starts.Length != axes.Length || ends.Length != axes.Length || steps.Length != axes.Length)
            throw new FormatException("has other numbers of starts, ends, axes and steps");
        var (dims, strides, start) = (input.Dims.ToArray(), OnnxShape.Strides(input.Dims), 0);
        foreach (var (i, given) in axes.Index())
        {
            var axis = Axis(given, dims.Length);
            var end = Math.Min(ends[i], dims[axis]);
            if (dims[axis] != input.Dims[axis] || starts[i] < 0 || starts[i] >= end || steps[i] < 1)
                throw new FormatException($"takes {starts[i]} to {ends[i]} by {steps[i]} of {dims[axis]}, expected a part, each axis once");
            start += starts[i] * strides[axis];
            dims[axis] = (end - starts[i] + steps[i] - 1) / steps[i];
            strides[axis] *= steps[i];
        }

        return new GatherStep(input.Slot, Output(dims).Slot, OnnxShape.Offsets(dims, strides, start));
    }

    // Rows of a constant table by whole numbers, or a value's parts by constant ones.
    private OnnxStep Gather()
    {
        Inputs(2, 2);
        var axis = attributes.Integer("axis", 0);
        if (operand(node.Input[0]) is { IsConstant: true } table)
        {
            var indices = Row(1);
            if (axis != 0 || table.Dims is not [var count, .. var rest])
                throw new FormatException($"looks up axis {axis} of [{string.Join(", ", table.Dims)}], expected the first");
            return new LookupStep(indices.Slot, Output([.. indices.Dims, .. rest]).Slot, table.Data!, count);
        }

        var input = Row(0);
        var places = integers(node.Input[1]);
        var own = Axis(axis, input.Dims.Length);
        if (places.Length == 0 || places.Any(p => p < 0 || p >= input.Dims[own]))
            throw new FormatException($"takes places that are not among {input.Dims[own]}");
        var (dims, strides) = (input.Dims.ToArray(), OnnxShape.Strides(input.Dims));
        (dims[own], var stride) = (places.Length, strides[own]);
        strides[own] = 0;
        var output = Output(dims);
        var map = OnnxShape.Offsets(dims, strides);
        var inner = dims[(own + 1)..].Aggregate(1, (a, b) => a * b);
        for (var i = 0; i < map.Length; i++)
            map[i] += places[i / inner % places.Length] * stride;
        return new GatherStep(input.Slot, output.Slot, map);
    }

    // One number around a value, or its own again.
    private OnnxStep Pad()
    {
        Inputs(2, 3);
        var input = Row(0);
        var (pads, mode, rank) = (integers(node.Input[1]), attributes.Text("mode", "constant"), input.Dims.Length);
        if (pads.Length != 2 * (rank + 1) || pads[0] != 0 || pads[rank + 1] != 0 || Array.Exists(pads, p => p < 0))
            throw new FormatException($"has pads [{string.Join(", ", pads.Take(16))}], expected {2 * (rank + 1)}, none of rows, and none less than 0");
        var value = node.Input.Count > 2 ? Constant(2, []).Data![0] : 0;
        var (before, behind) = (pads[1..(rank + 1)], pads[(rank + 2)..]);
        var output = Output([.. input.Dims.Select((size, d) => checked(size + before[d] + behind[d]))]);
        var places = input.Dims.Select((size, d) => Enumerable.Range(-before[d], output.Dims[d]).Select(p => OnnxShape.Around(p, size, mode)).ToArray()).ToArray();
        return new PadStep(input.Slot, output.Slot, OnnxShape.Map(places, OnnxShape.Strides(input.Dims)), value);
    }

    private OnnxStep Expand()
    {
        Inputs(2, 2);
        var input = Row(0);
        var shape = integers(node.Input[1]);
        if (shape.Length != input.Dims.Length + 1 || shape[0] != 1 || OnnxShape.Join(input.Dims, shape[1..]) is not { } dims)
            throw new FormatException($"makes [{string.Join(", ", shape.Take(8))}] of [N, {string.Join(", ", input.Dims)}]");
        var output = Output(dims);
        var strides = OnnxShape.Strides(input.Dims);
        return new GatherStep(input.Slot, output.Slot, OnnxShape.Offsets(dims, [.. strides.Select((s, d) => input.Dims[d] == 1 ? 0 : s)]));
    }

    private OnnxStep Reduce(Func<float, float, float> function, Func<Vector<float>, Vector<float>, Vector<float>> vectors, bool isMean = false)
    {
        Inputs(2, 2);
        var input = Row(0);
        var dims = input.Dims;
        var axes = integers(node.Input[1]).Select(a => Axis(a, dims.Length)).Order().ToArray();
        if (axes.Length == 0 || axes[^1] - axes[0] != axes.Length - 1 || axes.Distinct().Count() != axes.Length)
            throw new FormatException($"is over axes {string.Join(", ", axes)} of a row's, expected one, or some side by side");
        var keeps = attributes.Integer("keepdims", 1) == 1;
        var (before, behind) = (dims[..axes[0]], dims[(axes[^1] + 1)..]);
        var output = Output([.. before, .. keeps ? axes.Select(_ => 1) : [], .. behind]);
        var inner = behind.Aggregate(1, (a, b) => a * b);
        return new ReduceStep(input.Slot, output.Slot, input.Length / output.Length, inner, function, vectors, isMean);
    }

    private OnnxStep Concat()
    {
        Inputs(1, 1000);
        var parts = Enumerable.Range(0, node.Input.Count).Select(Row).ToArray();
        var rank = parts[0].Dims.Length;
        var axis = attributes.Integer("axis", 0) is var given && given < 0 ? rank + given : given - 1;
        if (axis < 0 || axis >= rank || parts.Any(p => p.Dims.Length != rank || Enumerable.Range(0, rank).Any(d => d != axis && p.Dims[d] != parts[0].Dims[d])))
            throw new FormatException("joins values of other shapes, or rows");
        var dims = parts[0].Dims.ToArray();
        dims[axis] = parts.Aggregate(0, (sum, p) => checked(sum + p.Dims[axis]));
        var outer = dims[..axis].Aggregate(1, (a, b) => a * b);
        return new ConcatStep([.. parts.Select(p => (p.Slot, p.Length / outer))], Output(dims).Slot, outer);
    }
}
