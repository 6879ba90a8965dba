using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using Apache.Arrow;

namespace MLDistributed.Protocol;

/// <summary>
/// A dataset's id: the SHA-256 of its rows in order, batch by batch. It depends on the content alone, not on how a
/// version of the Arrow library lays a file out, so that every receiver can check what it got.
/// </summary>
public sealed class DatasetHasher : IDisposable
{
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    /// <summary>Starts the hash of a dataset of this shape.</summary>
    public DatasetHasher(DatasetShape shape)
    {
        ArgumentNullException.ThrowIfNull(shape);
        _hash.AppendData(Encoding.ASCII.GetBytes($"mldist-dataset/1 {(shape.IsSparse ? "sparse " : "")}{shape.FeatureSize} {(shape.HasWeights ? 1 : 0)}{(shape.Element == FeatureElement.UInt8 ? " u8" : "")}\n"));
    }

    /// <summary>Reads a dataset's file through: its id by its content, and its rows. Takes as long as its hash, about 1 s a GB.</summary>
    /// <exception cref="FormatException">It is no dataset, or damaged.</exception>
    public static async Task<(ContentHash Id, long RowCount)> ReadAsync(string path, CancellationToken cancellation)
    {
        try
        {
            using var reader = await DatasetReader.OpenFileAsync(path, cancellation).ConfigureAwait(false);
            using var hasher = new DatasetHasher(reader.Shape);
            while (await reader.NextAsync(cancellation).ConfigureAwait(false) is { } batch)
                hasher.Append(batch);
            var rows = hasher.RowCount;
            return (hasher.Complete(), rows);
        }
        catch (Exception e) when (e is not (OperationCanceledException or UnauthorizedAccessException or FormatException))
        {
            // Whatever the Arrow reader says of bytes that are no Arrow file.
            throw new FormatException(e.Message, e);
        }
    }

    /// <summary>Rows appended so far.</summary>
    public long RowCount { get; private set; }

    /// <summary>Adds a record batch of <see cref="DatasetSchema"/>.</summary>
    public void Append(RecordBatch batch)
    {
        Span<byte> length = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(length, batch.Length);
        _hash.AppendData(length);
        if (batch.Column(0) is ListArray sparse)
        {
            var pairs = (StructArray)sparse.Values;
            _hash.AppendData(MemoryMarshal.AsBytes(sparse.ValueOffsets));
            _hash.AppendData(MemoryMarshal.AsBytes(((Int32Array)pairs.Fields[0]).Values));
            _hash.AppendData(Bytes(pairs.Fields[1]));
        }
        else
        {
            _hash.AppendData(Bytes(((FixedSizeListArray)batch.Column(0)).Values));
        }

        for (var column = 1; column < batch.ColumnCount; column++)
            _hash.AppendData(Bytes(batch.Column(column)));
        RowCount += batch.Length;
    }

    /// <summary>The id.</summary>
    public ContentHash Complete() => ContentHash.OfDigest(_hash.GetHashAndReset());

    /// <inheritdoc/>
    public void Dispose() => _hash.Dispose();

    private static ReadOnlySpan<byte> Bytes(IArrowArray array) =>
        array is UInt8Array bytes ? bytes.Values : MemoryMarshal.AsBytes(((FloatArray)array).Values);
}
