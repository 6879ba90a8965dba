using System.Numerics;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

internal sealed class UnaryStep(int input, int output, Func<float, float> function) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var i = 0; i < to.Length; i++)
            to[i] = function(from[i]);
    }
}

/// <summary>max(x, 0); a NaN stays one.</summary>
internal sealed class RectifyStep(int input, int output) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        var x = MemoryMarshal.Cast<float, Vector<float>>(from);
        var y = MemoryMarshal.Cast<float, Vector<float>>(to.AsSpan());
        for (var i = 0; i < y.Length; i++)
            y[i] = Vector.Max(x[i], Vector<float>.Zero);
        for (var i = y.Length * Vector<float>.Count; i < to.Length; i++)
            to[i] = MathF.Max(from[i], 0);
    }
}

/// <summary>A function that is the same for each element, several of them at once.</summary>
internal sealed class VectorStep(int input, int output, Func<Vector<float>, Vector<float>> function) : OnnxStep
{
    public override void Run(float[][] values) => VectorMath.Apply(values[input], values[output], function);
}

/// <summary>A function of two values, block by block: an operand that is shorter is read again from its beginning, or is one number.</summary>
internal sealed class BlockStep(OnnxOperand left, OnnxOperand right, OnnxOperand output, int block, Func<Vector<float>, Vector<float>, Vector<float>> function) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (a, b, to) = (left.In(values), right.In(values), values[output.Slot]);
        for (var start = 0; start < to.Length; start += block)
            VectorMath.Apply(Part(a, start), Part(b, start), to.AsSpan(start, block), function);
    }

    private ReadOnlySpan<float> Part(float[] operand, int start) => operand.Length == 1 ? operand : operand.AsSpan(start % operand.Length, block);
}

internal sealed class GeluStep(int input, int output) : OnnxStep
{
    public override void Run(float[][] values)
    {
        values[input].CopyTo(values[output], 0);
        Gelu.Apply(values[output]);
    }
}

internal sealed class BinaryStep(OnnxOperand left, int[]? leftMap, OnnxOperand right, int[]? rightMap, int output, Func<float, float, float> function) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (a, b, to) = (left.In(values), right.In(values), values[output]);
        for (var i = 0; i < to.Length; i++)
            to[i] = function(a[At(i, leftMap, a)], b[At(i, rightMap, b)]);
    }

    internal static int At(int i, int[]? map, float[] data) => map is not null ? map[i] : data.Length == 1 ? 0 : i;
}

internal sealed class WhereStep(int condition, int[]? conditionMap, OnnxOperand yes, int[]? yesMap, OnnxOperand no, int[]? noMap, int output) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (choice, a, b, to) = (values[condition], yes.In(values), no.In(values), values[output]);
        for (var i = 0; i < to.Length; i++)
            to[i] = choice[BinaryStep.At(i, conditionMap, choice)] != 0 ? a[BinaryStep.At(i, yesMap, a)] : b[BinaryStep.At(i, noMap, b)];
    }
}

internal sealed class CopyStep(int input, int output) : OnnxStep
{
    public override void Run(float[][] values) => values[input].CopyTo(values[output], 0);
}

internal sealed class GatherStep(int input, int output, int[] map) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var i = 0; i < to.Length; i++)
            to[i] = from[map[i]];
    }
}

/// <summary>Elements in other places, and one number where the place is -1.</summary>
internal sealed class PadStep(int input, int output, int[] map, float value) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var i = 0; i < to.Length; i++)
            to[i] = map[i] < 0 ? value : from[map[i]];
    }
}

/// <summary>Rows of a table, by whole numbers; one that is outside of it is the nearest.</summary>
internal sealed class LookupStep(int indices, int output, float[] table, int count) : OnnxStep
{
    private readonly int _size = table.Length / count;

    public override void Run(float[][] values)
    {
        var (from, to) = (values[indices], values[output]);
        for (var i = 0; i < from.Length; i++)
            table.AsSpan(Math.Clamp((int)from[i], 0, count - 1) * _size, _size).CopyTo(to.AsSpan(i * _size));
    }
}

/// <summary>Sums, means, or extremes over one dimension, or some side by side.</summary>
internal sealed class ReduceStep(int input, int output, int count, int inner, Func<float, float, float> function, Func<Vector<float>, Vector<float>, Vector<float>> vectors, bool isMean) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var start = 0; start < to.Length; start += inner)
        {
            var parts = from.AsSpan(start * count, count * inner);
            var results = to.AsSpan(start, inner);
            parts[..inner].CopyTo(results);
            for (var i = 1; i < count; i++)
            {
                if (inner == 1)
                    results[0] = function(results[0], parts[i]);
                else
                    VectorMath.Apply(results, parts.Slice(i * inner, inner), results, vectors);
            }

            for (var i = 0; isMean && i < inner; i++)
                results[i] /= count;
        }
    }
}

/// <summary>Joins parts side by side, as often as there are elements of the dimensions before.</summary>
internal sealed class ConcatStep((int Slot, int Length)[] parts, int output, int outer) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (to, at) = (values[output], 0);
        for (var o = 0; o < outer; o++)
            foreach (var (slot, length) in parts)
            {
                values[slot].AsSpan(o * length, length).CopyTo(to.AsSpan(at));
                at += length;
            }
    }
}

internal sealed class SoftmaxStep(int input, int output, int size, bool isLogarithm) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var start = 0; start < to.Length; start += size)
        {
            var largest = float.NegativeInfinity;
            for (var i = start; i < start + size; i++)
                largest = MathF.Max(largest, from[i]);
            var sum = 0f;
            for (var i = start; i < start + size; i++)
                sum += to[i] = MathF.Exp(from[i] - largest);
            for (var i = start; i < start + size; i++)
                to[i] = isLogarithm ? from[i] - largest - MathF.Log(sum) : to[i] / sum;
        }
    }
}

/// <summary>A factor and a summand for each channel.</summary>
internal sealed class ScaleStep(int input, int output, float[] scale, float[] shift, int places) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var (c, i) = (0, 0); c < scale.Length; c++)
            for (var end = i + places; i < end; i++)
                to[i] = (from[i] * scale[c]) + shift[c];
    }
}

/// <summary>The mean of each channel.</summary>
internal sealed class MeanStep(int input, int output, int places) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        for (var c = 0; c < to.Length; c++)
        {
            var sum = 0.0;
            foreach (var value in from.AsSpan(c * places, places))
                sum += value;
            to[c] = (float)(sum / places);
        }
    }
}

/// <summary>Each channel less its mean, over its deviation, times the channel's gain.</summary>
internal sealed class InstanceNormStep(int input, int output, float[] gain, float[] bias, int places, float epsilon) : OnnxStep
{
    public override void Run(float[][] values)
    {
        for (var c = 0; c < gain.Length; c++)
        {
            var from = values[input].AsSpan(c * places, places);
            var to = values[output].AsSpan(c * places, places);
            var (sum, squares) = (0.0, 0.0);
            foreach (var value in from)
                sum += value;
            var mean = sum / places;
            foreach (var value in from)
                squares += (value - mean) * (value - mean);
            var factor = gain[c] / Math.Sqrt((squares / places) + epsilon);
            for (var i = 0; i < places; i++)
                to[i] = (float)((from[i] - mean) * factor) + bias[c];
        }
    }
}

internal sealed class LayerNormStep(int input, int output, float[] gain, float[]? bias, float epsilon) : OnnxStep
{
    public override void Run(float[][] values)
    {
        var (from, to) = (values[input], values[output]);
        var size = gain.Length;
        for (var start = 0; start < to.Length; start += size)
        {
            var (sum, squares) = (0.0, 0.0);
            foreach (var value in from.AsSpan(start, size))
                sum += value;
            var mean = sum / size;
            foreach (var value in from.AsSpan(start, size))
                squares += (value - mean) * (value - mean);
            var factor = 1 / Math.Sqrt((squares / size) + epsilon);
            for (var i = 0; i < size; i++)
                to[start + i] = ((float)((from[start + i] - mean) * factor) * gain[i]) + (bias is null ? 0 : bias[i]);
        }
    }
}
