using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;
using Microsoft.ML.Transforms.Image;

[assembly: LoadableClass(typeof(ImagePixelsTransformer), null, typeof(SignatureLoadModel), "Pixels of images for a distributed network", ImagePixelsTransformer.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>
/// Turns a column of images into one of their pixels, as a network takes them: a vector of numbers from 0 to 255, one plane of a colour
/// after the other. An image is an <see cref="MLImage"/>, the bytes of a file in a vector of Byte, or a file's path as text.
/// </summary>
internal sealed class ImagePixelsTransformer : OneToOneTransformerBase, INetworkInputs
{
    internal const string LoaderSignature = "MLDistImagePixels";
    private const string ModelSignature = "MLDIMGPX";
    private const int MaxSide = 1024;
    private readonly PixelSize _size;
    private readonly string? _folder;

    public ImagePixelsTransformer(IHostEnvironment env, string output, string input, PixelSize size, string? folder)
        : base(env.Register(nameof(ImagePixelsTransformer)), (output, input)) => (_size, _folder) = (size, folder);

    private ImagePixelsTransformer(IHost host, ModelLoadContext ctx)
        : base(host, ctx)
    {
        // *** Binary format ***
        // <base>
        // int: height, width, channels, what becomes of other shapes
        // id of string: folder, or none
        _size = new PixelSize(ctx.Reader.ReadInt32(), ctx.Reader.ReadInt32(), ctx.Reader.ReadInt32(), (ImageResizingEstimator.ResizingKind)ctx.Reader.ReadInt32());
        _folder = ctx.LoadStringOrNull();
        if (_size is not { Height: >= 1 and <= MaxSide, Width: >= 1 and <= MaxSide, Channels: 1 or 3 } || !Enum.IsDefined(_size.Resizing) || ColumnPairs.Length != 1)
            throw new FormatException($"The images of the model file are {_size}, expected sides of 1 to {MaxSide:N0} and 1 or 3 channels. Copy the file again from its source, or train anew.");
    }

    /// <summary>Whether a column holds images.</summary>
    public static bool IsImage(DataViewType type) => type is ImageDataViewType or TextDataViewType || type is VectorDataViewType vector && vector.ItemType == NumberDataViewType.Byte;

    /// <inheritdoc/>
    protected override void CheckInputColumn(DataViewSchema inputSchema, int col, int srcCol)
    {
        if (!IsImage(inputSchema[srcCol].Type))
            throw new ArgumentException(Refusal(inputSchema[srcCol].Name, inputSchema[srcCol].Type.ToString()!));
    }

    /// <summary>What is said of a column of another type.</summary>
    public static string Refusal(string name, string type) =>
        $"Feature column \"{name}\" is {type}, expected images: an MLImage, the bytes of an image file as a vector of Byte, or its path as text. Load images with ml.Transforms.LoadImages, or name another column.";

    /// <inheritdoc/>
    protected override void SaveModel(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        SaveColumns(ctx);
        ctx.Writer.Write(_size.Height);
        ctx.Writer.Write(_size.Width);
        ctx.Writer.Write(_size.Channels);
        ctx.Writer.Write((int)_size.Resizing);
        ctx.SaveStringOrNull(_folder);
    }

    /// <inheritdoc/>
    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    // Called by ML.NET when it loads a model file.
    internal static ImagePixelsTransformer Create(IHostEnvironment env, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        return new ImagePixelsTransformer(env.Register(nameof(ImagePixelsTransformer)), ctx);
    }

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(ImagePixelsTransformer));

    private sealed class Mapper(ImagePixelsTransformer parent, DataViewSchema schema) : OneToOneMapperBase(parent.Host.Register(nameof(Mapper)), parent, schema)
    {
        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() =>
            [new(parent.ColumnPairs[0].outputColumnName, new VectorDataViewType(NumberDataViewType.Single, parent._size.Length), null)];

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var read = ImageReader.Of(input, input.Schema[ColMapNewToOld[iinfo]], parent._size, parent._folder);
            var planes = new byte[parent._size.Length];
            ValueGetter<VBuffer<float>> getter = (ref VBuffer<float> pixels) =>
            {
                read(planes);
                var editor = VBufferEditor.Create(ref pixels, planes.Length);
                for (var i = 0; i < planes.Length; i++)
                    editor.Values[i] = planes[i];
                pixels = editor.Commit();
            };
            return getter;
        }
    }
}
