using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Training.Commits;

/// <summary>
/// Memory that outlives a job's ranks, the agent's: the newest state of the training, and the step that each rank is in.
/// A file in memory without a name, so that nothing of it is left when its agent ends, however it does.
/// </summary>
/// <remarks>
/// The state is there twice, and each commit writes the older half. A rank writes 0 to its word of the half, its slices,
/// and then the commit's word; the first of them writes what describes the half too. A half is whole when all ranks' words are the
/// one of its description: a rank that is killed in the middle leaves the other half, and what the next attempt adds to a torn one,
/// at the same step, has another word. Ranks meet between two
/// commits, so that none begins to write one half before the other is whole.
/// </remarks>
public sealed class CommitFile : IDisposable
{
    internal const int MaxRanks = 512;

    private const int PageBytes = 4096;
    private const int Halves = 2;
    private const int StepsAt = 0;
    private const int WordsAt = PageBytes;
    private const int RecordsAt = WordsAt + Halves * PageBytes;
    private const int RecordBytes = PageBytes / Halves;
    private const int FixedRecordBytes = 5 * sizeof(long) + 3 * sizeof(int);

    /// <summary>Where the state begins.</summary>
    internal const long DataAt = RecordsAt + PageBytes;

    private readonly SafeFileHandle _file;
    private readonly IDisposable _owner;

    private CommitFile(SafeFileHandle file, IDisposable owner, string path) => (_file, _owner, Path) = (file, owner, path);

    /// <summary>What ranks open it by, while it is open here.</summary>
    public string Path { get; }

    /// <summary>Makes an empty one, for the owner alone.</summary>
    /// <param name="folder">A folder in memory, such as /dev/shm.</param>
    /// <returns>Null where the system has no files without names: only Linux lets others open them.</returns>
    /// <exception cref="IOException">The folder has no room.</exception>
    public static CommitFile? Create(string folder)
    {
        if (!OperatingSystem.IsLinux())
            return null;
        var name = System.IO.Path.Combine(folder, $"mldist-commit-{Guid.NewGuid():N}");
        var stream = new FileStream(name, new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.ReadWrite | FileShare.Delete,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            BufferSize = 0,
        });
        File.Delete(name);
        var file = stream.SafeFileHandle;
        try
        {
            RandomAccess.Write(file, new byte[DataAt], 0);
            return new CommitFile(file, stream, $"/proc/{Environment.ProcessId}/fd/{file.DangerousGetHandle()}");
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>Opens the agent's, in a rank.</summary>
    /// <exception cref="IOException">It cannot be opened.</exception>
    public static CommitFile Open(string path)
    {
        var file = File.OpenHandle(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        return new CommitFile(file, file, path);
    }

    /// <summary>Says that a rank begins a step, counted from 1. Half a microsecond.</summary>
    public void BeginStep(int rank, long step) => WriteWord(StepsAt + rank * sizeof(long), step);

    /// <summary>The step that a rank has begun last in this attempt; 0: none.</summary>
    public long StepOf(int rank) => ReadWord(StepsAt + rank * sizeof(long));

    /// <summary>Forgets the steps of the attempt before.</summary>
    public void ClearSteps() => RandomAccess.Write(_file, new byte[PageBytes], StepsAt);

    /// <summary>The step of the newest whole state; 0: there is none.</summary>
    public long NewestStep() => Newest()?.Step ?? 0;

    /// <inheritdoc/>
    public void Dispose() => _owner.Dispose();

    /// <summary>The newest whole state; null: there is none.</summary>
    internal Commit? Newest()
    {
        Commit? newest = null;
        for (var half = 0; half < Halves; half++)
            if (ReadRecord(half) is { } commit && (newest is null || commit.Code > newest.Code))
                newest = commit;
        return newest;
    }

    /// <summary>A rank begins to write a half, which is not whole from now on.</summary>
    internal void Begin(int half, int rank) => WriteWord(WordAt(half, rank), 0);

    /// <summary>A rank has written all that it writes of a half.</summary>
    /// <param name="half">Which.</param>
    /// <param name="rank">Of those here.</param>
    /// <param name="word"><see cref="Commit.WordOf"/>.</param>
    internal void End(int half, int rank, long word) => WriteWord(WordAt(half, rank), word);

    /// <summary>Describes a half; the first rank here, before it ends.</summary>
    internal void Describe(Commit commit, long metadataAt)
    {
        var metadata = Encoding.UTF8.GetBytes(commit.Metadata);
        var record = new byte[FixedRecordBytes];
        BinaryPrimitives.WriteInt64LittleEndian(record, commit.Code);
        BinaryPrimitives.WriteInt64LittleEndian(record.AsSpan(8), commit.Step);
        BinaryPrimitives.WriteInt64LittleEndian(record.AsSpan(16), metadataAt);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(24), XxHash3.HashToUInt64(metadata));
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(32), metadata.Length);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(36), commit.WorldSize);
        BinaryPrimitives.WriteInt32LittleEndian(record.AsSpan(40), commit.BestPlace);
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(44), commit.Attempt);
        RandomAccess.Write(_file, metadata, metadataAt);
        RandomAccess.Write(_file, record, RecordsAt + commit.Half * RecordBytes);
    }

    internal void Write(long at, ReadOnlySpan<byte> bytes) => RandomAccess.Write(_file, bytes, at);

    /// <exception cref="EndOfStreamException">It is shorter.</exception>
    internal void Read(long at, Span<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            var read = RandomAccess.Read(_file, bytes, at);
            if (read == 0)
                throw new EndOfStreamException($"The commit ends at byte {at}, expected {bytes.Length} more.");
            at += read;
            bytes = bytes[read..];
        }
    }

    private Commit? ReadRecord(int half)
    {
        var record = new byte[FixedRecordBytes];
        Read(RecordsAt + half * RecordBytes, record);
        var code = BinaryPrimitives.ReadInt64LittleEndian(record);
        var worldSize = BinaryPrimitives.ReadInt32LittleEndian(record.AsSpan(36));
        var attempt = BinaryPrimitives.ReadUInt64LittleEndian(record.AsSpan(44));
        var word = Commit.WordOf(attempt, code);
        if (code == 0 || Enumerable.Range(0, worldSize).Any(rank => ReadWord(WordAt(half, rank)) != word))
            return null;
        var metadata = new byte[BinaryPrimitives.ReadInt32LittleEndian(record.AsSpan(32))];
        Read(BinaryPrimitives.ReadInt64LittleEndian(record.AsSpan(16)), metadata);
        return XxHash3.HashToUInt64(metadata) == BinaryPrimitives.ReadUInt64LittleEndian(record.AsSpan(24))
            ? new Commit(
                half,
                code,
                BinaryPrimitives.ReadInt64LittleEndian(record.AsSpan(8)),
                worldSize,
                BinaryPrimitives.ReadInt32LittleEndian(record.AsSpan(40)),
                attempt,
                Encoding.UTF8.GetString(metadata))
            : null;
    }

    private static long WordAt(int half, int rank) => WordsAt + half * PageBytes + rank * sizeof(long);

    private void WriteWord(long at, long value)
    {
        Span<byte> word = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(word, value);
        RandomAccess.Write(_file, word, at);
    }

    private long ReadWord(long at)
    {
        Span<byte> word = stackalloc byte[sizeof(long)];
        Read(at, word);
        return BinaryPrimitives.ReadInt64LittleEndian(word);
    }
}

/// <summary>A whole state in a <see cref="CommitFile"/>.</summary>
/// <param name="Half">Where it is.</param>
/// <param name="Code">Its number: above 0, rising.</param>
/// <param name="Step">Steps done.</param>
/// <param name="WorldSize">The ranks that wrote it, all that were here.</param>
/// <param name="BestPlace">Where the best weights so far are; -1: there are none.</param>
/// <param name="Attempt">The attempt that it is of: by another, the same step may have rounded otherwise.</param>
/// <param name="Metadata">The position, as in a checkpoint.</param>
internal sealed record Commit(int Half, long Code, long Step, int WorldSize, int BestPlace, ulong Attempt, string Metadata)
{
    /// <summary>What tells attempts apart.</summary>
    public static ulong AttemptOf(string id) => XxHash3.HashToUInt64(Encoding.UTF8.GetBytes(id));

    /// <summary>What each rank leaves when it has written its part: of this attempt and code, and never 0.</summary>
    public static long WordOf(ulong attempt, long code)
    {
        Span<ulong> of = [attempt, (ulong)code];
        return (long)(XxHash3.HashToUInt64(MemoryMarshal.AsBytes(of)) | 1);
    }
}
