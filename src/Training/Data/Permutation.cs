using System.Numerics;
using System.Runtime.CompilerServices;

namespace MLDistributed.Training.Data;

/// <summary>
/// A pseudo-random order of <c>count</c> things that needs no memory: a Feistel network over the next power of four, walked
/// until it lands inside (Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains"). It depends on its key alone.
/// </summary>
internal readonly struct Permutation
{
    private const int RoundCount = 6;
    private readonly int _halfBits;
    private readonly ulong _halfMask;
    private readonly Rounds _keys;

    public Permutation(ulong seed, ulong stream, long count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        Count = count;
        _halfBits = (BitOperations.Log2((ulong)Math.Max(count - 1, 1)) + 2) / 2;
        _halfMask = (1UL << _halfBits) - 1;
        for (var i = 0; i < RoundCount; i++)
            _keys[i] = CounterRandom.Hash(CounterRandom.Hash(seed, stream), (ulong)i);
    }

    public long Count { get; }

    /// <summary>What is at a position, both from 0 to <see cref="Count"/> - 1.</summary>
    public long this[long position]
    {
        get
        {
            var value = (ulong)position;
            do
            {
                value = Mix(value);
            }
            while (value >= (ulong)Count);
            return (long)value;
        }
    }

    private ulong Mix(ulong value)
    {
        var left = value >> _halfBits;
        var right = value & _halfMask;
        for (var i = 0; i < RoundCount; i++)
            (left, right) = (right, left ^ (CounterRandom.Hash(_keys[i], right) & _halfMask));
        return (left << _halfBits) | right;
    }

    [InlineArray(RoundCount)]
    private struct Rounds
    {
        private ulong _first;
    }
}
