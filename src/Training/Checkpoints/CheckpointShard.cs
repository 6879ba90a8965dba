using System.IO.Hashing;
using System.Runtime.InteropServices;
using MLDistributed.Training.Loop;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// This rank's slices of a checkpoint: a copy that training does not change, and the pieces of the file that they are.
/// Native memory, since so much from the managed heap would have it collected in the middle of a step.
/// </summary>
internal sealed unsafe class CheckpointShard : IDisposable
{
    private const int ChunkBytes = 4 << 20;
    private readonly RankState _state;
    private readonly long _count;
    private readonly float* _copy;

    public CheckpointShard(RankState state)
    {
        _state = state;
        _count = state.Strategy.Slice.Count;
        Parts = 1 + state.Strategy.Optimizer.State.Count;
        _copy = (float*)NativeMemory.Alloc((nuint)Math.Max(1, _count * Parts), sizeof(float));
    }

    /// <summary>Parameters, and each state of the optimizer.</summary>
    public int Parts { get; }

    /// <summary>The pause that a checkpoint makes: a copy in memory.</summary>
    public void Copy()
    {
        Buffer.MemoryCopy(_state.Parameters + _state.Strategy.Slice.Start, _copy, _count * sizeof(float), _count * sizeof(float));
        for (var i = 1; i < Parts; i++)
        {
            var values = _state.Strategy.Optimizer.State[i - 1].Values;
            values.CopyTo(new Span<float>(_copy + i * _count, values.Length));
        }
    }

    /// <summary>Writes a part to its place.</summary>
    /// <returns>Its checksum.</returns>
    public ulong Write(SafeFileHandle file, CheckpointLayout layout, int part, CancellationToken stop) =>
        Write(file, layout.PartAt(part, _state.Strategy.Slice), (byte*)(_copy + part * _count), _count * sizeof(float), stop);

    /// <summary>Writes bytes to their place.</summary>
    /// <returns>Their checksum: XXH3, 64 bits.</returns>
    public static ulong Write(SafeFileHandle file, long at, byte* bytes, long length, CancellationToken stop)
    {
        var hash = new XxHash3();
        for (var done = 0L; done < length; done += ChunkBytes)
        {
            stop.ThrowIfCancellationRequested();
            var chunk = new ReadOnlySpan<byte>(bytes + done, (int)Math.Min(ChunkBytes, length - done));
            hash.Append(chunk);
            RandomAccess.Write(file, chunk, at + done);
        }

        return hash.GetCurrentHashAsUInt64();
    }

    public void Dispose() => NativeMemory.Free(_copy);
}
