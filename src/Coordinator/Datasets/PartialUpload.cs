using System.Globalization;
using System.Runtime.CompilerServices;
using Apache.Arrow;
using Apache.Arrow.Ipc;
using MLDistributed.Coordinator.Store;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Datasets;

/// <summary>
/// What came so far of a dataset: a folder of Arrow streams, one a session, each named by the index of its first batch.
/// Each tenant has its own, so that none learns what another sends.
/// A stream that was cut ends in a torn message, which is dropped: the next session sends that batch again.
/// </summary>
internal sealed class PartialUpload(string datasetsFolder, UploadKey key)
{
    private readonly string _folder = Path.Combine(datasetsFolder, key.FolderName);
    private readonly SemaphoreSlim _gate = new(1, 1);
    private CancellationTokenSource? _writer;
    private long _received = -1;
    private long _bytes;

    public UploadKey Key => key;

    public ContentHash DatasetId => key.DatasetId;

    /// <summary>Who has it now; counted by the store.</summary>
    public int Users { get; set; }

    /// <summary>Whether anything of it is here.</summary>
    public bool Exists => Directory.Exists(_folder);

    /// <summary>Bytes on disk so far.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Whole batches on disk. The first call after a restart reads them through.</summary>
    public async ValueTask<long> CountAsync(CancellationToken cancellation)
    {
        if (Interlocked.Read(ref _received) is >= 0 and var known)
            return known;
        var count = 0L;
        await foreach (var batch in ReadAsync(cancellation).ConfigureAwait(false))
        {
            batch.Dispose();
            count++;
        }

        Interlocked.Exchange(ref _bytes, Segments().Sum(s => s.File.Length));
        return Interlocked.CompareExchange(ref _received, count, -1) is >= 0 and var raced ? raced : count;
    }

    /// <summary>Becomes the one writer. An earlier one, whose client may be long gone, is cancelled and waited for.</summary>
    public async Task<Session> BeginAsync(CancellationToken cancellation)
    {
        var mine = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
        if (Interlocked.Exchange(ref _writer, mine) is { } earlier)
            await CancelAsync(earlier).ConfigureAwait(false);
        await _gate.WaitAsync(cancellation).ConfigureAwait(false);
        return new Session(this, mine);
    }

    /// <summary>All whole batches in order, each good until the next.</summary>
    public async IAsyncEnumerable<RecordBatch> ReadAsync([EnumeratorCancellation] CancellationToken cancellation)
    {
        var count = 0L;
        foreach (var (first, file) in Segments())
        {
            if (first != count)
                yield break; // a segment before this one lost batches: all after it must come again
            using var reader = DatasetReader.OverStream(file.OpenRead());
            while (await ReadWholeAsync(reader, cancellation).ConfigureAwait(false) is { } batch)
            {
                count++;
                yield return batch;
            }
        }
    }

    public void Delete()
    {
        if (Directory.Exists(_folder))
            Directory.Delete(_folder, recursive: true);
        Interlocked.Exchange(ref _received, 0);
        Interlocked.Exchange(ref _bytes, 0);
    }

    private static async Task<RecordBatch?> ReadWholeAsync(DatasetReader reader, CancellationToken cancellation)
    {
        try
        {
            return await reader.NextAsync(cancellation).ConfigureAwait(false);
        }
        catch (FormatException)
        {
            return null; // torn
        }
    }

    private static async Task CancelAsync(CancellationTokenSource source)
    {
        try
        {
            await source.CancelAsync().ConfigureAwait(false);
        }
        catch (ObjectDisposedException)
        {
            // It ended by itself in this moment.
        }
    }

    private IEnumerable<(long First, FileInfo File)> Segments() => !Directory.Exists(_folder)
        ? []
        : new DirectoryInfo(_folder).EnumerateFiles("*.arrows")
            .Select(f => (First: long.Parse(Path.GetFileNameWithoutExtension(f.Name), CultureInfo.InvariantCulture), File: f))
            .OrderBy(s => s.First);

    /// <summary>One client's stream of batches.</summary>
    internal sealed class Session(PartialUpload upload, CancellationTokenSource cancellation) : IAsyncDisposable
    {
        private FileStream? _file;
        private ArrowStreamWriter? _arrow;

        /// <summary>Cancelled when the client is gone or a newer one took over.</summary>
        public CancellationToken Cancellation => cancellation.Token;

        /// <summary>Appends a batch and returns when the operating system has it.</summary>
        public async Task AppendAsync(Schema schema, RecordBatch batch)
        {
            try
            {
                await WriteAsync(schema, batch).ConfigureAwait(false);
            }
            catch (Exception e) when (StoreException.Covers(e))
            {
                throw new StoreException($"Dataset \"{upload.DatasetId}\"", Path.GetDirectoryName(upload._folder)!, e);
            }

            Interlocked.Exchange(ref upload._bytes, upload._bytes + ByteCount(batch));
            Interlocked.Increment(ref upload._received);
        }

        private async Task WriteAsync(Schema schema, RecordBatch batch)
        {
            if (_arrow is null)
            {
                Directory.CreateDirectory(upload._folder);
                var first = await upload.CountAsync(Cancellation).ConfigureAwait(false);
                var name = first.ToString("D10", CultureInfo.InvariantCulture) + ".arrows";
                _file = new FileStream(Path.Combine(upload._folder, name), FileMode.Create, FileAccess.Write, FileShare.Read);
                _arrow = new ArrowStreamWriter(_file, schema, leaveOpen: true);
            }

            // Not cancelled midway: a batch is whole or was never begun.
            await _arrow.WriteRecordBatchAsync(batch, CancellationToken.None).ConfigureAwait(false);
            await _file!.FlushAsync(CancellationToken.None).ConfigureAwait(false);
        }

        /// <summary>Closes the segment: what follows reads or deletes it.</summary>
        public async ValueTask CloseAsync()
        {
            try
            {
                _arrow?.Dispose();
                if (_file is not null)
                    await _file.DisposeAsync().ConfigureAwait(false);
            }
            catch (Exception e) when (StoreException.Covers(e))
            {
                // No room for the end of the stream: torn, as after a cut.
            }
        }

        public async ValueTask DisposeAsync()
        {
            await CloseAsync().ConfigureAwait(false);
            Interlocked.CompareExchange(ref upload._writer, null, cancellation);
            cancellation.Dispose();
            upload._gate.Release();
        }

        private static long ByteCount(RecordBatch batch) =>
            batch.Arrays.Sum(a => ByteCount(a.Data));

        private static long ByteCount(ArrayData array) => array.Buffers.Sum(b => (long)b.Length) + (array.Children?.Sum(ByteCount) ?? 0);
    }
}
