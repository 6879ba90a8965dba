using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>The all-reduce of two ranks: one loop that reads both and writes both, each value in the cache once.</summary>
internal static unsafe class PairSum
{
    /// <summary>Replaces both by their sum, a + b.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)] // from the first time on: it is not called often enough to be soon
    public static void IntoBoth(float* a, float* b, long count)
    {
        var i = 0L;
        for (; i <= count - Vector512<float>.Count; i += Vector512<float>.Count)
        {
            var sum = Vector512.Load(a + i) + Vector512.Load(b + i);
            sum.Store(a + i);
            sum.Store(b + i);
        }

        for (; i < count; i++)
            a[i] = b[i] = a[i] + b[i];
    }
}
