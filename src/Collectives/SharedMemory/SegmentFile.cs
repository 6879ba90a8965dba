using System.Runtime.InteropServices;

namespace MLDistributed.Collectives.SharedMemory;

/// <summary>Makes and finds the file of a segment.</summary>
internal static class SegmentFile
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private static readonly TimeSpan s_pollInterval = TimeSpan.FromMilliseconds(2);

    public static SharedSegment Create(SegmentOptions options, Func<FileStream, SharedSegment> map)
    {
        CheckSpace(options);
        var stream = NewFile(options);
        try
        {
            var segment = map(stream);
            segment.WriteHeader();
            return segment;
        }
        catch
        {
            stream.Dispose();
            File.Delete(options.Path);
            throw;
        }
    }

    public static SharedSegment Open(SegmentOptions options, Func<FileStream, SharedSegment> map, CancellationToken stop)
    {
        var started = TimeProvider.System.GetTimestamp();
        while (true)
        {
            var stream = TryOpen(options.Path);
            if (stream is not null && IsReady(stream, options))
                return map(stream);
            stream?.Dispose();
            if (TimeProvider.System.GetElapsedTime(started) >= options.RendezvousTimeout)
            {
                throw new CollectiveTimeoutException(
                    $"Rank {options.Rank} found no segment \"{options.Path}\" within {options.RendezvousTimeout.TotalSeconds:0.#} s, expected rank 0 to make it. See why rank 0 did not start.");
            }

            if (stop.WaitHandle.WaitOne(s_pollInterval))
                throw new OperationCanceledException(stop);
        }
    }

    // Without this, memory that /dev/shm does not have ends the process with SIGBUS at first touch.
    private static void CheckSpace(SegmentOptions options)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(options.Path))!;
        if (!Directory.Exists(folder))
            throw new CollectiveException($"Folder \"{folder}\" of the shared memory does not exist, expected a folder in memory such as /dev/shm.");
        long needed;
        try
        {
            needed = SharedSegment.TotalBytes(options);
        }
        catch (OverflowException)
        {
            needed = long.MaxValue;
        }

        var free = new DriveInfo(folder).AvailableFreeSpace;
        if (needed > free)
            throw TooSmall(folder, options, needed, free);
    }

    private static FileStream NewFile(SegmentOptions options)
    {
        var bytes = SharedSegment.TotalBytes(options);
        var file = new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.ReadWrite | FileShare.Delete,
            PreallocationSize = bytes,
            BufferSize = 0,
        };
        if (!OperatingSystem.IsWindows())
            file.UnixCreateMode = OwnerOnly;
        try
        {
            var stream = new FileStream(options.Path, file);
            stream.SetLength(bytes);
            return stream;
        }
        catch (IOException) when (File.Exists(options.Path))
        {
            throw new CollectiveException(
                $"Segment \"{options.Path}\" exists already, expected rank 0 to make it. It is another run's, or rank 0 was started twice: remove it, or give each run a path of its own.");
        }
        catch (IOException e)
        {
            var folder = Path.GetDirectoryName(Path.GetFullPath(options.Path))!;
            throw TooSmall(folder, options, bytes, new DriveInfo(folder).AvailableFreeSpace, e);
        }
    }

    private static CollectiveException TooSmall(string folder, SegmentOptions options, long needed, long free, Exception? inner = null) => new(
        $"Shared memory \"{folder}\" has {free / 1048576.0:N1} MiB free, expected {needed / 1048576.0:N1} MiB for {options.Length:N0} parameters, the gradients of {options.WorldSize} ranks and {options.StateBuffers} states of the optimizer. " +
        "Make it larger (mount -o remount,size=..., or docker run --shm-size), or use fewer ranks.", inner);

    private static FileStream? TryOpen(string path)
    {
        try
        {
            return new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static bool IsReady(FileStream stream, SegmentOptions options)
    {
        var header = default(SegmentHeader);
        var read = RandomAccess.Read(stream.SafeFileHandle, MemoryMarshal.AsBytes(new Span<SegmentHeader>(ref header)), 0);
        if (header.Magic == 0)
            return false;
        try
        {
            Check(header.Magic == SegmentHeader.ExpectedMagic && read == SegmentHeader.Bytes, "is not a segment of this program");
            Check(header.Version == SegmentHeader.CurrentVersion, $"has version {header.Version}, expected {SegmentHeader.CurrentVersion}");
            Check(header.Generation == SharedSegment.Generation(options.RunId), $"is another run's, expected that of \"{options.RunId}\"");
            Check(header.WorldSize == options.WorldSize, $"has {header.WorldSize} ranks, expected {options.WorldSize}");
            Check(header.Length == options.Length, $"has {header.Length} parameters, expected {options.Length}");
            Check(header.GradientBuffers == options.GradientBuffers, $"has {header.GradientBuffers} gradient buffers a rank, expected {options.GradientBuffers}");
            Check(header.StateBuffers == options.StateBuffers, $"has {header.StateBuffers} state buffers, expected {options.StateBuffers}");
            Check(header.MarkCount == options.MarkCount, $"has {header.MarkCount} marks, expected {options.MarkCount}");
            Check(header.StagingBytes == options.StagingBytes, $"has {header.StagingBytes} staging bytes a rank, expected {options.StagingBytes}");
            Check(stream.Length >= SharedSegment.TotalBytes(options), $"has {stream.Length} bytes, expected {SharedSegment.TotalBytes(options)}");
            return true;
        }
        catch
        {
            stream.Dispose();
            throw;
        }

        void Check(bool holds, string what)
        {
            if (!holds)
                throw new CollectiveException($"Segment \"{options.Path}\" {what} (rank {options.Rank}). Start all ranks of a run with the same build, job and path.");
        }
    }
}
