using System.Numerics.Tensors;

namespace MLDistributed.Training.BitExact;

/// <summary>Runs programs of a <see cref="SumTree"/> on blocks of floats, on a stack of blocks.</summary>
internal sealed unsafe class TreeSum
{
    private readonly int _blockLength;
    private readonly nint[][] _programs; // what each term loads; 0: it adds
    private readonly float[] _stack;

    /// <param name="programs">What is to be summed.</param>
    /// <param name="blockLength">The most floats at a time.</param>
    /// <param name="place">Where the first float is that a term loads.</param>
    public TreeSum(IReadOnlyList<SumTree.Term[]> programs, int blockLength, Func<SumTree.Term, nint> place)
    {
        _blockLength = blockLength;
        _programs = [.. programs.Select(p => p.Select(term => term.IsAddition ? 0 : place(term)).ToArray())];
        _stack = new float[blockLength * programs.Select(SumTree.DepthOf).DefaultIfEmpty().Max()];
    }

    /// <summary>A program's sum of some floats, which the next call overwrites.</summary>
    public Span<float> Of(int program, long start, int length)
    {
        var depth = 0;
        foreach (var term in _programs[program])
        {
            if (term == 0)
            {
                depth--;
                TensorPrimitives.Add(At(depth - 1), At(depth), At(depth - 1));
            }
            else
            {
                new ReadOnlySpan<float>((float*)term + start, length).CopyTo(At(depth++));
            }
        }

        return At(0);

        Span<float> At(int index) => _stack.AsSpan(index * _blockLength, length);
    }
}
