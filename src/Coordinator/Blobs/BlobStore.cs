using System.Security.Cryptography;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Blobs;

/// <summary>Content-addressed files: a blob's name is the SHA-256 of its bytes.</summary>
internal sealed class BlobStore
{
    private const string TempPrefix = ".upload-";
    private readonly string _folder;
    private readonly WholeFiles _files;

    public BlobStore(DataFolder data, ILogger<BlobStore> logger)
    {
        _folder = data.Blobs;
        _files = new WholeFiles("Blob", ContentHash.OfFileAsync, logger);
        foreach (var abandoned in Directory.EnumerateFiles(_folder, TempPrefix + "*"))
            File.Delete(abandoned);
    }

    public string PathOf(ContentHash id) => Path.Combine(_folder, id.Text);

    /// <summary>Whether there is a file of that name, in whatever state.</summary>
    public bool Contains(ContentHash id) => File.Exists(PathOf(id));

    /// <inheritdoc cref="WholeFiles.IsKnownWhole"/>
    public bool IsKnownWhole(ContentHash id) => _files.IsKnownWhole(PathOf(id));

    /// <inheritdoc cref="WholeFiles.CheckAsync"/>
    public Task<FileHealth> CheckAsync(ContentHash id, bool isDoubted, CancellationToken cancellation) => _files.CheckAsync(id, PathOf(id), isDoubted, cancellation);

    public IEnumerable<(ContentHash Id, FileInfo File)> Files()
    {
        foreach (var file in Directory.CreateDirectory(_folder).EnumerateFiles())
            if (ContentHash.TryParse(file.Name, out var id))
                yield return (id, file);
    }

    public void Delete(ContentHash id) => _files.Delete(PathOf(id));

    public string Folder => _folder;

    /// <exception cref="StoreException">The disk does not take it; so do the writer's own methods.</exception>
    public BlobWriter Create() => new(this, Path.Combine(_folder, TempPrefix + OpaqueId.New()));

    /// <summary>A blob that is being received; it appears in the store when completed with the right hash.</summary>
    internal sealed class BlobWriter(BlobStore store, string path) : IAsyncDisposable
    {
        private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        private readonly FileStream _file = Open(store, path);

        public long Length { get; private set; }

        public async Task AppendAsync(ReadOnlyMemory<byte> data, CancellationToken cancellation)
        {
            _hash.AppendData(data.Span);
            try
            {
                await _file.WriteAsync(data, cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (StoreException.Covers(e))
            {
                throw new StoreException("A blob", store._folder, e);
            }

            Length += data.Length;
        }

        /// <summary>Moves the file to its name and returns its hash; throws away what hashes to another id than expected.</summary>
        public async Task<ContentHash> CompleteAsync(ContentHash expectedId)
        {
            var id = ContentHash.OfDigest(_hash.GetHashAndReset());
            if (id != expectedId)
                return id;
            try
            {
                _file.Flush(flushToDisk: true);
                await _file.DisposeAsync().ConfigureAwait(false);
                store._files.Put(id, path, store.PathOf(id), isDurable: true);
            }
            catch (Exception e) when (StoreException.Covers(e))
            {
                throw new StoreException($"Blob \"{id}\"", store._folder, e);
            }

            return id;
        }

        public async ValueTask DisposeAsync()
        {
            await _file.DisposeAsync().ConfigureAwait(false);
            _hash.Dispose();
            File.Delete(path);
        }

        // Without a buffer: closing has nothing to write, so that it cannot fail on a full disk.
        private static FileStream Open(BlobStore store, string path)
        {
            try
            {
                DataFolder.Create(store._folder); // should something have removed it
                return new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1, FileOptions.Asynchronous);
            }
            catch (Exception e) when (StoreException.Covers(e))
            {
                throw new StoreException("A blob", store._folder, e);
            }
        }
    }
}
