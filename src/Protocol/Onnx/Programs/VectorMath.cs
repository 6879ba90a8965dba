using System.Numerics;
using System.Runtime.InteropServices;

namespace MLDistributed.Protocol.Onnx;

/// <summary>Functions of as many numbers at once as the processor takes.</summary>
internal static class VectorMath
{
    public static Vector<float> Sigmoid(Vector<float> x) => Vector<float>.One / (Vector<float>.One + Vector.Exp(-x));

    // 2 * sigmoid(2x) - 1 loses what is small beside 1; there x - x^3 / 3 + 2 x^5 / 15 is exact enough.
    public static Vector<float> Tanh(Vector<float> x)
    {
        var square = x * x;
        var small = x * (Vector<float>.One - (square * (new Vector<float>(1 / 3f) - (square * (2 / 15f)))));
        return Vector.ConditionalSelect(Vector.LessThan(Vector.Abs(x), new Vector<float>(0.05f)), small, (Sigmoid(x + x) * 2) - Vector<float>.One);
    }

    /// <summary>Applies a function to each number.</summary>
    public static void Apply(ReadOnlySpan<float> from, Span<float> to, Func<Vector<float>, Vector<float>> function)
    {
        var x = MemoryMarshal.Cast<float, Vector<float>>(from);
        var y = MemoryMarshal.Cast<float, Vector<float>>(to);
        for (var i = 0; i < y.Length; i++)
            y[i] = function(x[i]);
        var done = y.Length * Vector<float>.Count;
        if (done == to.Length)
            return;
        Span<float> rest = stackalloc float[Vector<float>.Count];
        rest.Clear();
        from[done..].CopyTo(rest);
        function(new Vector<float>(rest)).CopyTo(rest);
        rest[..(to.Length - done)].CopyTo(to[done..]);
    }

    /// <summary>Applies a function to each two numbers; an operand of one number is that for all.</summary>
    public static void Apply(ReadOnlySpan<float> left, ReadOnlySpan<float> right, Span<float> to, Func<Vector<float>, Vector<float>, Vector<float>> function)
    {
        var size = Vector<float>.Count;
        var i = 0;
        for (; i + size <= to.Length; i += size)
            function(Load(left, i), Load(right, i)).CopyTo(to[i..]);
        if (i == to.Length)
            return;
        Span<float> rest = stackalloc float[size];
        function(Rest(left, i), Rest(right, i)).CopyTo(rest);
        rest[..(to.Length - i)].CopyTo(to[i..]);

        static Vector<float> Load(ReadOnlySpan<float> operand, int at) => operand.Length == 1 ? new Vector<float>(operand[0]) : new Vector<float>(operand[at..]);

        static Vector<float> Rest(ReadOnlySpan<float> operand, int at)
        {
            if (operand.Length == 1)
                return new Vector<float>(operand[0]);
            Span<float> padded = stackalloc float[Vector<float>.Count];
            padded.Clear();
            operand[at..].CopyTo(padded);
            return new Vector<float>(padded);
        }
    }
}
