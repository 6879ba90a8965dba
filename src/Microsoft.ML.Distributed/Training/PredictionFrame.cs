using Google.Protobuf;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;
using Microsoft.ML.Transforms;

[assembly: LoadableClass(typeof(PredictionFrame), null, typeof(SignatureLoadModel), "Around a prediction", PredictionFrame.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>ML.NET's own prediction transformer, what makes its features before it, and copies of its outputs behind it.</summary>
internal sealed class PredictionFrame : ModelFrame
{
    public const string LoaderSignature = "MLDistFrame";
    private const string ModelSignature = "MLDFRAME";
    private const int MaxCopies = 16;
    private readonly IHostEnvironment _environment;
    private readonly INetworkInputs _inputs;
    private readonly IReadOnlyList<(string From, string To)>? _copies;

    /// <param name="environment">The context of copies.</param>
    /// <param name="inputs">Makes the features.</param>
    /// <param name="copies">Outputs that are to have another name too; null: there are none ever, and the chain tells the prediction's type.</param>
    public PredictionFrame(IHostEnvironment environment, INetworkInputs inputs, IReadOnlyList<(string From, string To)>? copies = null) =>
        (_environment, _inputs, _copies) = (environment, inputs, copies);

    public override bool NeedsSchema => true;

    /// <summary>What the prediction of a class is called.</summary>
    public string PredictedLabel { get; init; } = DefaultColumnNames.PredictedLabel;

    /// <summary>The chain that a trainer returns.</summary>
    public ITransformer Around<T>(T prediction)
        where T : class, ITransformer =>
        _copies is null
            ? new TransformerChain<T>(_inputs, prediction)
            : new TransformerChain<ITransformer>([_inputs, prediction, .. _copies.Select(c => new ColumnCopyingTransformer(_environment, (c.To, c.From)))]);

    public override ITransformer Make(IHostEnvironment environment, TrainedNetwork network, ByteString schema) => ModelSchema.MakeTransformer(environment, network, schema, this);

    // Called by ML.NET when it reads a frame.
    internal static PredictionFrame Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        var inputs = Read<INetworkInputs>(environment, Bytes(ctx.Reader));
        var (predicted, count) = (ctx.Reader.ReadString(), ctx.Reader.ReadInt32());
        if (count is < -1 or > MaxCopies)
            throw new FormatException($"it has {count:N0} copies of columns");
        var copies = new List<(string From, string To)>();
        for (var i = 0; i < count; i++)
            copies.Add((ctx.Reader.ReadString(), ctx.Reader.ReadString()));
        if (predicted.Length == 0 || copies.Any(c => c.From.Length == 0 || c.To.Length == 0))
            throw new FormatException("a column has no name");
        return new PredictionFrame(environment, inputs, count < 0 ? null : copies) { PredictedLabel = predicted };
    }

    public override void Save(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        // *** Binary format ***
        // int: bytes of the inputs; byte[]: a model of its own
        // string: what the prediction of a class is called
        // int: copies, -1 where there are none ever; of each:
        // string: the column; string: its other name
        var inputs = Write(_inputs);
        ctx.Writer.Write(inputs.Length);
        ctx.Writer.Write(inputs);
        ctx.Writer.Write(PredictedLabel);
        ctx.Writer.Write(_copies?.Count ?? -1);
        foreach (var (from, to) in _copies ?? [])
        {
            ctx.Writer.Write(from);
            ctx.Writer.Write(to);
        }
    }

    // Not more than is there, whatever it says.
    private static byte[] Bytes(BinaryReader reader) => reader.ReadInt32() is var length && length < 0 || length > reader.BaseStream.Length - reader.BaseStream.Position
        ? throw new FormatException($"its inputs have {length:N0} bytes")
        : reader.ReadBytes(length);

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(PredictionFrame));
}
