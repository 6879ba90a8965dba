using Microsoft.ML.Data;
using Microsoft.ML.Transforms.Image;

namespace Microsoft.ML.Distributed;

/// <summary>Reads the image of a cursor's row. One that cannot be read is named: which, in which column and row.</summary>
internal static class ImageReader
{
    // A file is read whole; a photograph has a few megabytes.
    private const long MaxFileBytes = 256 << 20;

    /// <summary>What fills planes of bytes with the row's image.</summary>
    /// <exception cref="InvalidDataException">From what it returns: there is no image; names it.</exception>
    public static Action<byte[]> Of(DataViewRow row, DataViewSchema.Column column, PixelSize size, string? folder)
    {
        var decoder = new ImageDecoder(size);
        switch (column.Type)
        {
            case ImageDataViewType:
                var getImage = row.GetGetter<MLImage>(column);
                MLImage? image = null;
                return planes =>
                {
                    // Whoever made the last one disposes it, or reuses it.
                    getImage(ref image!);
                    Try(row, column, "Image", () => decoder.Read(image, planes));
                };
            case TextDataViewType:
                var getPath = row.GetGetter<ReadOnlyMemory<char>>(column);
                ReadOnlyMemory<char> path = default;
                return planes =>
                {
                    getPath(ref path);
                    var full = FullPath(path.ToString(), folder);
                    Try(row, column, $"Image \"{full}\"", () => decoder.Read(Contents(full), planes));
                };
            default:
                var getBytes = row.GetGetter<VBuffer<byte>>(column);
                VBuffer<byte> bytes = default, dense = default;
                return planes =>
                {
                    getBytes(ref bytes);
                    if (!bytes.IsDense)
                        bytes.CopyToDense(ref dense);
                    var file = bytes.IsDense ? bytes : dense;
                    Try(row, column, $"Image of {file.Length:N0} bytes", () => decoder.Read(file.GetValues(), planes));
                };
        }
    }

    private static string FullPath(string path, string? folder) => string.IsNullOrEmpty(folder) || path.Length == 0 ? path : Path.Combine(folder, path);

    private static byte[] Contents(string path)
    {
        if (string.IsNullOrWhiteSpace(path))
            throw new InvalidDataException("has no path");
        var file = new FileInfo(path);
        if (!file.Exists)
            throw new InvalidDataException(Directory.Exists(path) ? "is a folder" : "is not there");
        if (file.Length > MaxFileBytes)
            throw new InvalidDataException($"has {file.Length:N0} bytes (at most {MaxFileBytes:N0})");
        return File.ReadAllBytes(path);
    }

    private static void Try(DataViewRow row, DataViewSchema.Column column, string subject, Action read)
    {
        try
        {
            read();
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException)
        {
            var why = e is InvalidDataException ? e.Message : $"cannot be read ({e.Message.TrimEnd('.')})";
            throw new InvalidDataException($"{subject} in column \"{column.Name}\" at row {row.Position:N0} {why}, expected a JPEG, PNG, GIF, BMP or WebP image. Fix the source or drop the row.", e);
        }
    }
}
