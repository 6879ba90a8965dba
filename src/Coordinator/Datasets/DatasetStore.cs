using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Training sets as Arrow IPC files, named by their id; a file that has its name is whole.</summary>
internal sealed class DatasetStore
{
    private const string TempSuffix = ".tmp";
    private readonly string _folder;
    private readonly Journal _journal;
    private readonly Ownership _ownership;
    private readonly TimeProvider _time;
    private readonly ConcurrentDictionary<string, PartialUpload> _partials = new(StringComparer.Ordinal);

    public DatasetStore(DataFolder data, Journal journal, Ownership ownership, CoordinatorOptions options)
    {
        _folder = data.Datasets;
        _journal = journal;
        _ownership = ownership;
        _time = options.Time;
        IncomingFolder = data.Incoming;
        foreach (var abandoned in Directory.EnumerateFiles(_folder, "*" + TempSuffix))
            File.Delete(abandoned);
    }

    public string Folder => _folder;

    public string IncomingFolder { get; }

    public string PathOf(string id) => Path.Combine(_folder, id + ".arrow");

    public bool Contains(string id) => File.Exists(PathOf(id));

    public IEnumerable<FileInfo> Files() => new DirectoryInfo(_folder).EnumerateFiles("*.arrow");

    public IEnumerable<DirectoryInfo> Partials() => new DirectoryInfo(_folder).EnumerateDirectories("*" + PartialUpload.Suffix);

    public void Delete(string id) => File.Delete(PathOf(id));

    public PartialUpload Partial(string id, string tenant)
    {
        var name = $"{id}-{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(tenant)))[..16]}";
        return _partials.GetOrAdd(name, static (name, upload) => new PartialUpload(upload._folder, name, upload.id), (_folder, id));
    }

    /// <param name="name">Of one of <see cref="Partials"/>, without its suffix.</param>
    public void DeletePartial(string name)
    {
        if (_partials.TryRemove(name, out var known))
            known.Delete();
        else
            Directory.Delete(Path.Combine(_folder, name + PartialUpload.Suffix), recursive: true);
    }

    /// <summary>Takes a file of the incoming folder over by renaming it.</summary>
    /// <exception cref="ArgumentException">The path is not a plain file in the incoming folder.</exception>
    /// <exception cref="StoreException">It cannot be renamed.</exception>
    public void Adopt(string id, string path, long rowCount, string tenant)
    {
        var file = new FileInfo(Path.GetFullPath(path));
        var inside = string.Equals(file.DirectoryName, Path.GetFullPath(IncomingFolder), StringComparison.Ordinal);
        if (!inside || file.LinkTarget is not null || !file.Exists)
            throw new ArgumentException($"Path \"{path}\" cannot be adopted, expected an existing file (no link) directly in \"{IncomingFolder}\".");
        try
        {
            File.Move(file.FullName, PathOf(id), overwrite: true);
        }
        catch (Exception e) when (StoreException.Covers(e))
        {
            throw new StoreException($"Dataset \"{id}\"", _folder, e);
        }

        Record(id, rowCount, tenant);
    }

    /// <summary>Turns a whole upload into a dataset.</summary>
    /// <exception cref="FormatException">What came is not the dataset of that id; the upload is thrown away.</exception>
    public async Task CompleteAsync(PartialUpload partial, long rowCount, string tenant, CancellationToken cancellation)
    {
        var temp = Path.Combine(_folder, OpaqueId.New() + TempSuffix);
        try
        {
            await DatasetAssembler.AssembleAsync(partial, temp, rowCount, cancellation).ConfigureAwait(false);
            if (!Contains(partial.DatasetId)) // another tenant's, the same
                File.Move(temp, PathOf(partial.DatasetId), overwrite: true);
            Record(partial.DatasetId, rowCount, tenant);
            partial.Delete();
            _partials.TryRemove(partial.Name, out _); // for each dataset ever sent one would grow for ever
        }
        catch (FormatException)
        {
            partial.Delete();
            throw;
        }
        catch (Exception e) when (StoreException.Covers(e))
        {
            throw new StoreException($"Dataset \"{partial.DatasetId}\"", _folder, e);
        }
        finally
        {
            File.Delete(temp);
        }
    }

    public void MarkUsed(string id)
    {
        var now = _time.GetUtcNow();
        _journal.Append(context =>
        {
            if (context.Datasets.Find(id) is { } row)
                row.UsedAt = now;
        });
    }

    private void Record(string id, long rowCount, string tenant)
    {
        var now = _time.GetUtcNow();
        var size = new FileInfo(PathOf(id)).Length;
        _ownership.Grant(id, tenant);
        _journal.Append(context =>
        {
            if (context.Datasets.Find(id) is { } row)
                (row.RowCount, row.SizeBytes, row.UsedAt) = (rowCount, size, now);
            else
                context.Datasets.Add(new DatasetRow { Id = id, Tenant = tenant, RowCount = rowCount, SizeBytes = size, CreatedAt = now, UsedAt = now });
        });
    }
}
