using Microsoft.Win32.SafeHandles;

namespace MLDistributed.Worker.Peers;

/// <summary>
/// A file whose parts come in any order, from several at once, and which others read meanwhile. What is here is noted beside
/// it, so that another download goes on from there.
/// </summary>
internal sealed class GrowingFile : IDisposable
{
    private const string NotesSuffix = ".parts";
    private static readonly TimeSpan s_noteInterval = TimeSpan.FromSeconds(1);

    private readonly string _path;
    private readonly SafeFileHandle _handle;
    private readonly FileParts _parts;
    private readonly TimeProvider _time;
    private readonly Lock _gate = new();
    private TaskCompletionSource _grown = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _noted;
    private bool _isAbandoned;

    private GrowingFile(string path, SafeFileHandle handle, FileParts parts, TimeProvider time)
    {
        (_path, _handle, _parts, _time, _noted) = (path, handle, parts, time, time.GetTimestamp());
        Total = parts.Total;
    }

    /// <summary>How many bytes it will have.</summary>
    public long Total { get; }

    /// <summary>How many are here.</summary>
    public long Count => Locked(p => p.Count);

    /// <summary>Whether a file is one of these, whose length says nothing.</summary>
    public static bool HasNotes(string path) => File.Exists(path + NotesSuffix);

    /// <summary>Removes a file and what was noted of it.</summary>
    public static void Delete(string path)
    {
        File.Delete(path);
        File.Delete(path + NotesSuffix);
    }

    /// <summary>Opens one to be filled, with what is here of it.</summary>
    /// <param name="path">The file; made when missing.</param>
    /// <param name="total">The bytes of the whole.</param>
    public static GrowingFile Open(string path, long total, TimeProvider time)
    {
        var handle = File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, FileOptions.Asynchronous);
        var length = RandomAccess.GetLength(handle);
        // One without notes came from its start on, as far as it is long.
        var parts = length > total ? null
            : HasNotes(path) ? FileParts.Read(File.ReadAllText(path + NotesSuffix), total)
            : Until(length, total);
        if (length > total)
            RandomAccess.SetLength(handle, 0); // of another layout: its tail would stay
        if (parts is null || parts.End > length) // the second: notes of a file that was removed
            parts = new FileParts(total);
        var file = new GrowingFile(path, handle, parts, time);
        file.Note();
        return file;
    }

    /// <summary>Opens one that is whole, to be read.</summary>
    public static GrowingFile OpenWhole(string path, TimeProvider time)
    {
        var handle = File.OpenHandle(path, options: FileOptions.Asynchronous, share: FileShare.ReadWrite | FileShare.Delete);
        var length = RandomAccess.GetLength(handle);
        return new GrowingFile(path, handle, Until(length, length), time);
    }

    /// <summary>Writes bytes that were not here.</summary>
    /// <exception cref="IOException">The disk does not take them.</exception>
    public async Task WriteAsync(long position, ReadOnlyMemory<byte> bytes, PartOrigin origin, CancellationToken cancellation)
    {
        await RandomAccess.WriteAsync(_handle, bytes, position, cancellation).ConfigureAwait(false);
        lock (_gate)
        {
            _parts.Add(new FileRange(position, position + bytes.Length), origin);
            _grown.TrySetResult();
            _grown = new(TaskCreationOptions.RunContinuationsAsynchronously);
            if (_time.GetElapsedTime(_noted) >= s_noteInterval)
                Note();
        }
    }

    /// <summary>Reads bytes that are here.</summary>
    public ValueTask<int> ReadAsync(long position, Memory<byte> bytes, CancellationToken cancellation) => RandomAccess.ReadAsync(_handle, bytes, position, cancellation);

    /// <summary>To where all bytes are here, from a position on; waits for the first.</summary>
    /// <exception cref="IOException">It was given up.</exception>
    public async Task<long> EndAtAsync(long position, CancellationToken cancellation)
    {
        while (true)
        {
            Task grown;
            lock (_gate)
            {
                if (_parts.EndAt(position) is var end && end > position)
                    return end;
                if (_isAbandoned)
                    throw new IOException("no more comes of it here");
                grown = _grown.Task;
            }

            await grown.WaitAsync(cancellation).ConfigureAwait(false);
        }
    }

    public IReadOnlyList<FileRange> Missing(FileRange within) => Locked(p => p.Missing(within));

    public long CountFrom(PartOrigin origin) => Locked(p => p.CountFrom(origin));

    /// <summary>Counts as not here what any other than the coordinator gave.</summary>
    public void KeepTheCoordinators()
    {
        lock (_gate)
        {
            _parts.KeepTheCoordinators();
            Note();
        }
    }

    /// <summary>Nothing more will come.</summary>
    public void Abandon()
    {
        lock (_gate)
        {
            _isAbandoned = true;
            _grown.TrySetResult();
        }
    }

    /// <summary>Nobody fills it now: notes what is here, if it is not all.</summary>
    public void Settle()
    {
        lock (_gate)
        {
            if (_parts.IsWhole)
                File.Delete(_path + NotesSuffix);
            else
                Note();
        }
    }

    public void Dispose() => _handle.Dispose();

    private static FileParts Until(long length, long total)
    {
        var parts = new FileParts(total);
        parts.Add(new FileRange(0, length), PartOrigin.Before);
        return parts;
    }

    // Under the gate. Without room for it, a later download begins where the notes before were.
    private void Note()
    {
        _noted = _time.GetTimestamp();
        try
        {
            File.WriteAllText(_path + NotesSuffix, _parts.ToString());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What matters is the file itself, whose write fails too if its disk does.
        }
    }

    private T Locked<T>(Func<FileParts, T> look)
    {
        lock (_gate)
            return look(_parts);
    }
}
