using System.IO.Hashing;
using System.Runtime.InteropServices;
using MLDistributed.Collectives;
using MLDistributed.Training.Optimization;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// This rank's slices of a checkpoint: a copy that training does not change, and the pieces of the file that they are.
/// Native memory, since so much from the managed heap would have it collected in the middle of a step.
/// </summary>
internal sealed unsafe class CheckpointShard : IDisposable
{
    private const int ChunkBytes = 4 << 20;
    private readonly ITrainedState _state;
    private readonly Shard _slice;
    private readonly float* _copy;

    public CheckpointShard(ITrainedState state)
    {
        _state = state;
        _slice = state.Slice;
        Parts = 1 + FlatOptimizer.StateNames(state.Spec.Optimizer).Count;
        _copy = (float*)NativeMemory.Alloc((nuint)Math.Max(1, _slice.Count * Parts), sizeof(float));
    }

    /// <summary>Parameters, and each state of the optimizer.</summary>
    public int Parts { get; }

    /// <summary>The pause that a checkpoint makes: a copy in memory, and before it one from a device.</summary>
    public void Copy()
    {
        _state.ToHost();
        var bytes = _slice.Count * sizeof(float);
        for (var i = 0; i < Parts; i++)
            Buffer.MemoryCopy((i == 0 ? _state.Parameters : _state.Segment.State(i - 1)) + _slice.Start, _copy + i * _slice.Count, bytes, bytes);
    }

    /// <summary>Writes a part to its place.</summary>
    /// <returns>Its checksum.</returns>
    public ulong Write(SafeFileHandle file, CheckpointLayout layout, int part, CancellationToken stop) =>
        Write(file, layout.PartAt(part, _slice), (byte*)(_copy + part * _slice.Count), _slice.Count * sizeof(float), stop);

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
