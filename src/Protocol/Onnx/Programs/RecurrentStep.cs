using System.Buffers;
using System.Numerics;

namespace MLDistributed.Protocol.Onnx;

internal enum RecurrentKind
{
    /// <summary>One hidden state, of a tanh or a rectifier (Elman 1990).</summary>
    Elman,

    /// <summary>Cho et al. 2014, with the reset behind the recurrent product.</summary>
    Gru,

    /// <summary>Hochreiter and Schmidhuber 1997, with a forget gate.</summary>
    Lstm,
}

/// <summary>The weights of one direction: of the input, of the hidden state, and what is added to each of the two products.</summary>
internal sealed record RecurrentWeights(float[] Input, float[] Hidden, float[] InputBias, float[] HiddenBias, bool IsReverse);

/// <summary>
/// A recurrent layer over a row's steps, [steps, inputs] to [steps, directions, hidden]. The inputs' part of all steps is one
/// product of matrices; what is left for each step is the hidden state's.
/// </summary>
internal sealed class RecurrentStep(RecurrentKind kind, OnnxOperand input, OnnxOperand output, RecurrentWeights[] directions, int hidden, bool isRectified) : OnnxStep
{
    private readonly int _gates = Gates(kind, hidden);

    public override void Run(float[][] values)
    {
        var (steps, inputs) = (input.Dims[0], input.Dims[1]);
        var (from, to) = (values[input.Slot], values[output.Slot]);
        var buffer = ArrayPool<float>.Shared.Rent((int)Scratch(steps, _gates, hidden));
        try
        {
            Run(from, to, steps, inputs, buffer);
        }
        finally
        {
            ArrayPool<float>.Shared.Return(buffer);
        }
    }

    /// <summary>Numbers that a step computes of a hidden state: one or more for each of its own.</summary>
    public static int Gates(RecurrentKind kind, int hidden) => checked(hidden * kind switch { RecurrentKind.Lstm => 4, RecurrentKind.Gru => 3, _ => 1 });

    /// <summary>Numbers that it computes with beside its input and output.</summary>
    public static long Scratch(int steps, int gates, int hidden) => ((long)steps * gates) + gates + (2L * hidden);

    private void Run(float[] from, float[] to, int steps, int inputs, float[] buffer)
    {
        var products = buffer.AsSpan(0, steps * _gates);
        var recurrent = buffer.AsSpan(products.Length, _gates);
        var state = buffer.AsSpan(products.Length + _gates, hidden);
        var cell = buffer.AsSpan(products.Length + _gates + hidden, hidden);
        for (var d = 0; d < directions.Length; d++)
        {
            var weights = directions[d];
            MatrixMatrix.Multiply(weights.Input, weights.InputBias, from, products, inputs);
            state.Clear();
            cell.Clear();
            for (var i = 0; i < steps; i++)
            {
                var step = weights.IsReverse ? steps - 1 - i : i;
                var gates = products.Slice(step * _gates, _gates);
                MatrixVector.Multiply(weights.Hidden, state, recurrent);
                VectorMath.Apply(recurrent, weights.HiddenBias, recurrent, (a, b) => a + b);
                Advance(gates, recurrent, state, cell);
                state.CopyTo(to.AsSpan(((step * directions.Length) + d) * hidden));
            }
        }
    }

    private void Advance(Span<float> gates, Span<float> recurrent, Span<float> state, Span<float> cell)
    {
        switch (kind)
        {
            case RecurrentKind.Lstm: // input, output, forget, cell
                Add(gates, recurrent);
                VectorMath.Apply(gates[..(3 * hidden)], gates[..(3 * hidden)], VectorMath.Sigmoid);
                var fresh = gates[(3 * hidden)..];
                VectorMath.Apply(fresh, fresh, VectorMath.Tanh);
                VectorMath.Apply(fresh, gates[..hidden], fresh, (a, b) => a * b);
                VectorMath.Apply(cell, gates.Slice(2 * hidden, hidden), cell, (a, b) => a * b);
                Add(cell, fresh);
                VectorMath.Apply(cell, fresh, VectorMath.Tanh);
                VectorMath.Apply(fresh, gates.Slice(hidden, hidden), state, (a, b) => a * b);
                break;
            case RecurrentKind.Gru: // update, reset, hidden
                var both = gates[..(2 * hidden)];
                var next = gates[(2 * hidden)..];
                Add(both, recurrent[..(2 * hidden)]);
                VectorMath.Apply(both, both, VectorMath.Sigmoid);
                var reset = recurrent[(2 * hidden)..];
                VectorMath.Apply(reset, both[hidden..], reset, (a, b) => a * b);
                Add(next, reset);
                VectorMath.Apply(next, next, VectorMath.Tanh);
                // (1 - update) * next + update * state
                VectorMath.Apply(state, next, state, (a, b) => a - b);
                VectorMath.Apply(state, both[..hidden], state, (a, b) => a * b);
                Add(state, next);
                break;
            default:
                VectorMath.Apply(gates, recurrent, state, (a, b) => a + b);
                VectorMath.Apply(state, state, isRectified ? x => Vector.Max(x, Vector<float>.Zero) : VectorMath.Tanh);
                break;
        }
    }

    private static void Add(Span<float> to, ReadOnlySpan<float> more) => VectorMath.Apply(to, more, to, (a, b) => a + b);
}
