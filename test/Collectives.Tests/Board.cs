using System.IO.MemoryMappedFiles;

namespace Collectives.Tests;

/// <summary>Numbers that all ranks of a test see, be they threads or processes: a file that all map. The first to open it makes it, and deletes it in the end.</summary>
internal sealed class Board : IDisposable
{
    private readonly string? _made;
    private readonly MemoryMappedFile _file;
    private readonly MemoryMappedViewAccessor _view;

    public Board(string path, int count)
    {
        _made = File.Exists(path) ? null : path;
        _file = MemoryMappedFile.CreateFromFile(new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete), null, sizeof(int) * count, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: false);
        _view = _file.CreateViewAccessor();
    }

    public int this[int index]
    {
        get
        {
            Interlocked.MemoryBarrier();
            return _view.ReadInt32(sizeof(int) * index);
        }
        set
        {
            _view.Write(sizeof(int) * index, value);
            Interlocked.MemoryBarrier();
        }
    }

    public void Dispose()
    {
        _view.Dispose();
        _file.Dispose();
        if (_made is not null)
            File.Delete(_made);
    }
}
