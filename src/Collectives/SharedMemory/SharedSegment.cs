using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Security.Cryptography;
using System.Text;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>
/// Memory that all ranks of one host map: parameters and an optimizer's state (once), gradients (once a rank), a few
/// doubles a rank, and the barrier. The file exists only until all ranks have mapped it, so a crash leaves nothing behind.
/// </summary>
public sealed unsafe class SharedSegment : IDisposable
{
    /// <summary>The most ranks of one host.</summary>
    public const int MaxWorldSize = 512;

    /// <summary>Doubles in each rank's scratch.</summary>
    public const int ScratchLength = 64;

    /// <summary>Words that each rank has for <see cref="Signal"/>.</summary>
    public const int SignalCount = 16;

    private const int Alignment = 4096;

    private readonly Lock _unmapping = new();
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;
    private readonly SegmentOptions _options;
    private readonly SegmentHeader* _header;
    private readonly RankSlot* _slots;
    private readonly double* _scratch;
    private readonly byte* _staging;
    private readonly float* _floats;
    private readonly long _floatStride;
    private bool _disposed;

    private SharedSegment(FileStream stream, SegmentOptions options)
    {
        _options = options;
        var bytes = TotalBytes(options);
        _file = MemoryMappedFile.CreateFromFile(stream, null, bytes, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: false);
        _view = _file.CreateViewAccessor(0, bytes);
        byte* start = null;
        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        _header = (SegmentHeader*)start;
        _slots = (RankSlot*)(start + SegmentHeader.Bytes);
        _scratch = (double*)(_slots + options.WorldSize);
        var fixedBytes = FixedBytes(options.WorldSize);
        _staging = start + fixedBytes;
        _floats = (float*)(_staging + StagingStride(options) * (options.WorldSize + 1));
        _floatStride = FloatBytes(options.Length) / sizeof(float);
        Barrier = new SharedBarrier(_header, _slots, options, options.UseFutex && Futex.IsSupported);
    }

    /// <summary>This rank, from 0.</summary>
    public int Rank => _options.Rank;

    /// <summary>How many ranks there are.</summary>
    public int WorldSize => _options.WorldSize;

    /// <summary>Floats in the parameters, and in each rank's gradients.</summary>
    public long Length => _options.Length;

    /// <summary>The parameters, the same memory for all ranks.</summary>
    public float* Parameters => _floats;

    /// <summary>The gradients of one rank, readable by all.</summary>
    /// <param name="rank">From 0.</param>
    /// <param name="buffer">Which of the rank's <see cref="SegmentOptions.GradientBuffers"/>, from 0.</param>
    public float* Gradients(int rank, int buffer = 0) => _floats + _floatStride * (1 + (long)rank * _options.GradientBuffers + buffer);

    /// <summary>What the optimizer keeps of each parameter, 0 at first, the same memory for all ranks.</summary>
    /// <param name="buffer">Which of the <see cref="SegmentOptions.StateBuffers"/>, from 0.</param>
    public float* State(int buffer) => Gradients(WorldSize) + _floatStride * buffer;

    /// <summary>Bits that one rank writes and all read, 0 at first, 64 a word and the lowest first.</summary>
    public ulong* Marks(int rank) => (ulong*)State(_options.StateBuffers) + MarkStride(_options) / sizeof(ulong) * rank;

    /// <summary>Words of a rank's <see cref="Marks"/>.</summary>
    public long MarkWords => (_options.MarkCount + 63) / 64;

    /// <summary>The few doubles that one rank writes and all read.</summary>
    public Span<double> Scratch(int rank) => new(_scratch + (long)ScratchLength * rank, ScratchLength);

    /// <summary>Whether a rank has aborted.</summary>
    public bool IsAborted => Volatile.Read(ref _header->Aborted) != 0;

    /// <summary>A word that one rank writes and all read, 0 at first; written and read as a whole (<see cref="Volatile"/>).</summary>
    /// <param name="rank">Whose.</param>
    /// <param name="index">From 0 to <see cref="SignalCount"/> - 1.</param>
    public ref long Signal(int rank, int index) => ref (&_slots[rank].Signals)[index];

    /// <summary>Where the ranks meet.</summary>
    public SharedBarrier Barrier { get; }

    internal SegmentOptions Options => _options;

    /// <summary>What a rank is copying for an operation; <see cref="WorldSize"/>: the result.</summary>
    internal Span<byte> Staging(int rank) => new(_staging + StagingStride(_options) * rank, _options.StagingBytes);

    internal RankSlot* Slot(int rank) => _slots + rank;

    /// <summary>Meets the other ranks in the segment: rank 0 makes it, the others wait for it, and it has no name any more when this returns.</summary>
    /// <exception cref="CollectiveException">The segment cannot be made or is not this run's; the message says what to do.</exception>
    /// <exception cref="CollectiveTimeoutException">Not all ranks came in time.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="stop"/> was cancelled.</exception>
    public static SharedSegment Join(SegmentOptions options, CancellationToken stop = default)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(options.Length);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.StagingBytes, 64);
        ArgumentOutOfRangeException.ThrowIfNegative(options.GradientBuffers);
        ArgumentOutOfRangeException.ThrowIfNegative(options.StateBuffers);
        if (options.WorldSize is < 1 or > MaxWorldSize)
            throw new CollectiveException($"World size is {options.WorldSize}, expected 1 to {MaxWorldSize} ranks a host.");
        if (options.Rank < 0 || options.Rank >= options.WorldSize)
            throw new CollectiveException($"Rank is {options.Rank}, expected 0 to {options.WorldSize - 1}.");

        var segment = options.Rank == 0 ? SegmentFile.Create(options, s => new SharedSegment(s, options)) : SegmentFile.Open(options, s => new SharedSegment(s, options), stop);
        try
        {
            segment.Meet(stop);
            return segment;
        }
        catch
        {
            segment.Abort();
            segment.Dispose();
            throw;
        }
        finally
        {
            if (options.Rank == 0)
                File.Delete(options.Path);
        }
    }

    /// <summary>Makes every wait of every rank fail from now on. From any thread, also after <see cref="Dispose"/>.</summary>
    public void Abort()
    {
        lock (_unmapping)
        {
            if (!_disposed)
                Barrier.Abort();
        }
    }

    /// <summary>Unmaps the memory. Nothing of it may be in use.</summary>
    public void Dispose()
    {
        lock (_unmapping)
        {
            if (_disposed)
                return;
            _disposed = true;
            _view.SafeMemoryMappedViewHandle.ReleasePointer();
            _view.Dispose();
            _file.Dispose();
        }
    }

    /// <summary>The size of the file.</summary>
    internal static long TotalBytes(SegmentOptions options) =>
        FixedBytes(options.WorldSize) + StagingStride(options) * (options.WorldSize + 1) + checked(FloatBytes(options.Length) * (1 + (long)options.WorldSize * options.GradientBuffers + options.StateBuffers)) + MarkStride(options) * options.WorldSize;

    internal static long Generation(string runId) => BinaryPrimitives.ReadInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(runId)));

    internal void WriteHeader()
    {
        _header->Version = SegmentHeader.CurrentVersion;
        _header->WorldSize = WorldSize;
        _header->Length = Length;
        _header->StagingBytes = _options.StagingBytes;
        _header->GradientBuffers = _options.GradientBuffers;
        _header->StateBuffers = _options.StateBuffers;
        _header->MarkCount = _options.MarkCount;
        _header->Generation = Generation(_options.RunId);
        Volatile.Write(ref _header->Magic, SegmentHeader.ExpectedMagic);
    }

    private void Meet(CancellationToken stop)
    {
        if (Interlocked.CompareExchange(ref _slots[Rank].Joined, 1, 0) != 0)
            throw new CollectiveException($"Rank {Rank} has joined \"{_options.Path}\" already, expected each rank once. Start every rank with its own number.");
        using (stop.Register(Abort))
        {
            try
            {
                Barrier.Wait(_options.RendezvousTimeout);
            }
            catch (CollectiveAbortedException) when (stop.IsCancellationRequested)
            {
                throw new OperationCanceledException(stop);
            }
        }
    }

    private static long Align(long bytes) => checked(bytes + Alignment - 1) / Alignment * Alignment;

    private static long FixedBytes(int worldSize) =>
        Align(SegmentHeader.Bytes + (long)worldSize * (RankSlot.Bytes + ScratchLength * sizeof(double)));

    private static long MarkStride(SegmentOptions options) => Align((options.MarkCount + 7) / 8);

    private static long StagingStride(SegmentOptions options) => Align(options.StagingBytes);

    private static long FloatBytes(long length) => Align(checked(length * sizeof(float)));
}
