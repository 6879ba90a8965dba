using System.Buffers.Binary;

namespace MLDistributed.Coordinator.Store;

/// <summary>
/// How far the database was, in a small file beside it: the coordinator's start and how many changes that had committed.
/// SQLite takes a log that was cut, or in which a bit is another, for one that ends there, and says nothing; this file tells.
/// It is written after each commit without waiting for the disk (1 us): never ahead of a database that lost nothing.
/// </summary>
internal sealed class CommitMark(string folder) : IDisposable
{
    public const string FileName = "coordinator.mark";
    private const int Length = 3 * sizeof(long);
    private const long Salt = 0x6d6c64697374; // "mldist": an empty file is none
    private FileStream? _file;

    /// <summary>Where a coordinator has run, in this folder.</summary>
    public static string PathIn(string folder) => Path.Combine(folder, FileName);

    /// <summary>What was written last; null when there is none, or it is damaged itself.</summary>
    public CommitCount? Read()
    {
        try
        {
            var bytes = File.ReadAllBytes(PathIn(folder)).AsSpan();
            if (bytes.Length != Length)
                return null;
            var (start, commits) = (BinaryPrimitives.ReadInt64LittleEndian(bytes), BinaryPrimitives.ReadInt64LittleEndian(bytes[8..]));
            return BinaryPrimitives.ReadInt64LittleEndian(bytes[16..]) == (start ^ commits ^ Salt) ? new CommitCount(start, commits) : null;
        }
        catch (IOException)
        {
            return null;
        }
    }

    public void Write(CommitCount count)
    {
        Span<byte> bytes = stackalloc byte[Length];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, count.Start);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[8..], count.Commits);
        BinaryPrimitives.WriteInt64LittleEndian(bytes[16..], count.Start ^ count.Commits ^ Salt);
        try
        {
            _file ??= new FileStream(PathIn(folder), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite | FileShare.Delete, 0);
            RandomAccess.Write(_file.SafeFileHandle, bytes, 0);
        }
        catch (Exception e) when (StoreException.Covers(e))
        {
            // A full disk, before it was made: then nothing tells of a loss, and nothing else depends on it.
        }
    }

    public void Dispose() => _file?.Dispose();
}

/// <summary>Changes that the coordinator's run of a number had committed; of two, the later run's is more.</summary>
internal readonly record struct CommitCount(long Start, long Commits)
{
    /// <summary>What a database that has this lacks of what was promised, in words; null: nothing.</summary>
    public string? Lacks(CommitCount promised) =>
        Start > promised.Start || (Start == promised.Start && Commits >= promised.Commits) ? null
        : Start == promised.Start ? $"the last {promised.Commits - Commits} of {promised.Commits} changes of its last run"
        : $"all of its last run ({promised.Commits} changes) and of runs before";
}
