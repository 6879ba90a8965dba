using MLDistributed.Coordinator.Security;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>Training sets as Arrow IPC files, named by their id.</summary>
internal sealed class DatasetStore
{
    private const string Suffix = ".arrow";
    private const string TempSuffix = ".tmp";
    private const int MaxClaims = 1000;
    private const int MaxLive = 4;
    private static readonly TimeSpan ClaimTime = TimeSpan.FromMinutes(10);
    private readonly string _folder;
    private readonly Journal _journal;
    private readonly Ownership _ownership;
    private readonly TimeProvider _time;
    private readonly WholeFiles _files;
    private readonly Lock _gate = new();
    private readonly Dictionary<ContentHash, Queue<long>> _claims = [];
    private readonly Dictionary<UploadKey, PartialUpload> _partials = [];

    private int _live;

    public DatasetStore(DataFolder data, Journal journal, Ownership ownership, CoordinatorOptions options, ILogger<DatasetStore> logger)
    {
        _folder = data.Datasets;
        _journal = journal;
        _ownership = ownership;
        _time = options.Time;
        _files = new WholeFiles("Dataset", async (path, cancellation) => (await DatasetHasher.ReadAsync(path, cancellation).ConfigureAwait(false)).Id, logger);
        IncomingFolder = data.Incoming;
        foreach (var abandoned in Directory.EnumerateFiles(_folder, "*" + TempSuffix))
            File.Delete(abandoned);
    }

    public string Folder => _folder;

    /// <summary>Made again when something removed it.</summary>
    public string IncomingFolder
    {
        get
        {
            DataFolder.Create(field);
            return field;
        }
    }

    public string PathOf(ContentHash id) => Path.Combine(_folder, id.Text + Suffix);

    /// <inheritdoc cref="WholeFiles.IsKnownWhole"/>
    public bool IsKnownWhole(ContentHash id) => _files.IsKnownWhole(PathOf(id));

    /// <inheritdoc cref="WholeFiles.CheckAsync"/>
    public async Task<FileHealth> CheckAsync(ContentHash id, bool isDoubted, CancellationToken cancellation)
    {
        var health = await _files.CheckAsync(id, PathOf(id), isDoubted, cancellation).ConfigureAwait(false);
        if (health == FileHealth.Damaged)
            _journal.Append(context =>
            {
                if (context.Datasets.Find(id.Text) is { } row && !File.Exists(PathOf(id)))
                    context.Datasets.Remove(row);
            });
        return health;
    }

    public IEnumerable<(ContentHash Id, FileInfo File)> Files()
    {
        foreach (var file in Directory.CreateDirectory(_folder).EnumerateFiles("*" + Suffix))
            if (ContentHash.TryParse(Path.GetFileNameWithoutExtension(file.Name), out var id))
                yield return (id, file);
    }

    public IEnumerable<(UploadKey Key, DirectoryInfo Folder)> Partials()
    {
        foreach (var folder in Directory.CreateDirectory(_folder).EnumerateDirectories("*" + UploadKey.Suffix))
            if (UploadKey.TryParse(folder.Name, out var key))
                yield return (key, folder);
    }

    /// <summary>Whether it is here and whole; then it stays until its job is submitted: for a while, or until <see cref="Release"/>.</summary>
    public async Task<bool> TryClaimAsync(ContentHash id, CancellationToken cancellation)
    {
        if (await CheckAsync(id, isDoubted: false, cancellation).ConfigureAwait(false) != FileHealth.Whole)
            return false;
        lock (_gate)
        {
            if (!File.Exists(PathOf(id)))
                return false;
            Claim(id);
            return true;
        }
    }

    /// <summary>Gives claims back.</summary>
    public void Release(ContentHash id, int count)
    {
        lock (_gate)
        {
            if (!_claims.TryGetValue(id, out var claims))
                return;
            while (count-- > 0 && claims.TryDequeue(out _))
            {
            }

            ForgetOld(id, claims);
        }
    }

    public bool IsClaimed(ContentHash id)
    {
        lock (_gate)
            return _claims.TryGetValue(id, out var claims) && !ForgetOld(id, claims);
    }

    /// <summary>Removes one that nobody claims.</summary>
    public bool TryDelete(ContentHash id)
    {
        lock (_gate)
        {
            if (IsClaimed(id))
                return false;
            _files.Delete(PathOf(id));
            return true;
        }
    }

    /// <summary>How many batches of an unfinished upload of the tenant's are here.</summary>
    public async ValueTask<long> CountAsync(ContentHash id, string tenant, CancellationToken cancellation)
    {
        var partial = Partial(id, tenant);
        try
        {
            return await partial.CountAsync(cancellation).ConfigureAwait(false);
        }
        finally
        {
            Return(partial);
        }
    }

    /// <summary>The tenant's upload of a dataset, until <see cref="Return"/>: of ids that are only asked for, nothing stays.</summary>
    public PartialUpload Partial(ContentHash id, string tenant)
    {
        var key = UploadKey.Of(id, tenant);
        lock (_gate)
        {
            if (!_partials.TryGetValue(key, out var partial))
                _partials.Add(key, partial = new PartialUpload(_folder, key));
            partial.Users++;
            return partial;
        }
    }

    public void Return(PartialUpload partial)
    {
        lock (_gate)
            if (--partial.Users == 0 && !partial.Exists)
                _partials.Remove(partial.Key);
    }

    /// <summary>Removes what came so far of an upload.</summary>
    public void DeletePartial(UploadKey key)
    {
        PartialUpload? known;
        lock (_gate)
            known = _partials.GetValueOrDefault(key);
        (known ?? new PartialUpload(_folder, key)).Delete();
    }

    /// <summary>How many uploads are known.</summary>
    internal int PartialCount
    {
        get
        {
            lock (_gate)
                return _partials.Count;
        }
    }

    /// <summary>Takes a file of the incoming folder over by renaming it, once it is read through and has the content of its id.</summary>
    /// <exception cref="ArgumentException">The path is not a plain file in the incoming folder.</exception>
    /// <exception cref="FormatException">It is another dataset, or damaged.</exception>
    /// <exception cref="StoreException">It cannot be renamed.</exception>
    public async Task AdoptAsync(ContentHash id, string path, long rowCount, string tenant, CancellationToken cancellation)
    {
        var file = new FileInfo(Path.GetFullPath(path));
        var inside = string.Equals(file.DirectoryName, Path.GetFullPath(IncomingFolder), StringComparison.Ordinal);
        if (!inside || file.LinkTarget is not null || !file.Exists)
            throw new ArgumentException($"Path \"{path}\" cannot be adopted, expected an existing file (no link) directly in \"{IncomingFolder}\".");
        try
        {
            await CheckAsync(id, file.FullName, rowCount, cancellation).ConfigureAwait(false);
            lock (_gate)
            {
                DataFolder.Create(_folder);
                _files.Put(id, file.FullName, PathOf(id), isDurable: false); // a torn one is found by its hash after the next start
                Claim(id);
            }
        }
        catch (Exception e) when (StoreException.Covers(e))
        {
            throw new StoreException($"Dataset \"{id}\"", _folder, e);
        }

        Record(id, rowCount, tenant);
    }

    /// <summary>Assembles an upload while it comes; null: several are already, and each takes memory and a core.</summary>
    public LiveAssembly? TryAssembleLive(ContentHash id)
    {
        if (Interlocked.Increment(ref _live) > MaxLive)
        {
            Interlocked.Decrement(ref _live);
            return null;
        }

        DataFolder.Create(_folder);
        return new LiveAssembly(id, NewTemp(), () => Interlocked.Decrement(ref _live));
    }

    /// <summary>Turns a whole upload into a dataset.</summary>
    /// <param name="partial">The upload.</param>
    /// <param name="live">What was assembled while it came; null: it is assembled now.</param>
    /// <param name="rowCount">The rows that were announced.</param>
    /// <param name="tenant">Whose it is.</param>
    /// <param name="cancellation">Ends it.</param>
    /// <exception cref="FormatException">What came is not the dataset of that id; the upload is thrown away.</exception>
    public async Task CompleteAsync(PartialUpload partial, LiveAssembly? live, long rowCount, string tenant, CancellationToken cancellation)
    {
        var temp = live?.Path ?? NewTemp();
        DataFolder.Create(_folder);
        try
        {
            if (live is null)
                await DatasetAssembler.AssembleAsync(partial, temp, rowCount, cancellation).ConfigureAwait(false);
            else
                await live.CompleteAsync(rowCount, cancellation).ConfigureAwait(false);
            _files.Put(partial.DatasetId, temp, PathOf(partial.DatasetId), isDurable: true); // also over another tenant's: this one is known to be whole
            Record(partial.DatasetId, rowCount, tenant);
            partial.Delete();
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

    public void MarkUsed(ContentHash id)
    {
        var now = _time.GetUtcNow();
        _journal.Append(context =>
        {
            if (context.Datasets.Find(id.Text) is { } row)
                row.UsedAt = now;
        });
    }

    private static async Task CheckAsync(ContentHash id, string path, long rowCount, CancellationToken cancellation)
    {
        try
        {
            var (found, rows) = await DatasetHasher.ReadAsync(path, cancellation).ConfigureAwait(false);
            if (found == id && rows == rowCount)
                return;
            throw new FormatException($"it has {rows} rows and the hash \"{found}\", expected {rowCount} rows of the hash that is its id");
        }
        catch (FormatException e)
        {
            throw new FormatException($"File \"{path}\" is not dataset \"{id}\" any more ({e.Message.TrimEnd('.')}): the disk or another program changed it. Train again, and check the disk of that folder.", e);
        }
    }

    private string NewTemp() => Path.Combine(_folder, OpaqueId.New() + TempSuffix);

    private void Claim(ContentHash id)
    {
        if (!_claims.TryGetValue(id, out var claims))
            _claims.Add(id, claims = new Queue<long>());
        if (claims.Count == MaxClaims)
            claims.Dequeue(); // one keeps it as well as many; each is given back once
        claims.Enqueue(_time.GetTimestamp());
    }

    // Of clients that left. True: no claim is left either.
    private bool ForgetOld(ContentHash id, Queue<long> claims)
    {
        while (claims.TryPeek(out var oldest) && _time.GetElapsedTime(oldest) > ClaimTime)
            claims.Dequeue();
        return claims.Count == 0 && _claims.Remove(id);
    }

    private void Record(ContentHash id, long rowCount, string tenant)
    {
        var now = _time.GetUtcNow();
        var size = new FileInfo(PathOf(id)).Length;
        _ownership.Grant(id, tenant);
        _journal.Append(context =>
        {
            if (context.Datasets.Find(id.Text) is { } row)
                (row.RowCount, row.SizeBytes, row.UsedAt) = (rowCount, size, now);
            else
                context.Datasets.Add(new DatasetRow { Id = id.Text, Tenant = tenant, RowCount = rowCount, SizeBytes = size, CreatedAt = now, UsedAt = now });
        });
    }
}
