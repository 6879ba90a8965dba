using Google.Protobuf;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;

[assembly: LoadableClass(typeof(EntityFrame), null, typeof(SignatureLoadModel), "Around a network of named entities", EntityFrame.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>What a <see cref="NamedEntityTransformer"/> has besides its network.</summary>
/// <param name="environment">The context that writes the keys.</param>
/// <param name="columns">Its columns.</param>
/// <param name="vocabulary">The encoder's.</param>
/// <param name="keys">The labels.</param>
internal sealed class EntityFrame(IHostEnvironment environment, EntityColumns columns, TextVocabulary vocabulary, LabelKeys keys) : ModelFrame
{
    public const string LoaderSignature = "MLDistEntityFrame";
    private const string ModelSignature = "MLDENTFR";

    public EntityColumns Columns => columns;

    public TextVocabulary Vocabulary => vocabulary;

    public LabelKeys Keys => keys;

    public override bool NeedsSchema => false;

    public override ITransformer Make(IHostEnvironment environment, TrainedNetwork network, ByteString schema) => Around(environment, network);

    /// <summary>The chain that the trainer returns.</summary>
    public TransformerChain<ITransformer> Around(IHostEnvironment environment, TrainedNetwork network) => new(new NamedEntityTransformer(environment, network, this));

    /// <summary>Reads what <see cref="Write"/> wrote.</summary>
    /// <exception cref="FormatException">It is not that.</exception>
    public static EntityFrame Read(IHostEnvironment environment, BinaryReader reader)
    {
        var columns = new EntityColumns(reader.ReadString(), reader.ReadString(), reader.ReadString());
        if (columns.Text.Length == 0 || columns.Labels.Length == 0 || columns.Scores.Length == 0)
            throw new FormatException("a column has no name");
        return new EntityFrame(environment, columns, TextVocabulary.Load(reader), LabelKeys.Load(environment, reader));
    }

    // string: text column, output columns of labels and scores
    // <vocabulary>, <labels>
    public void Write(BinaryWriter writer)
    {
        writer.Write(columns.Text);
        writer.Write(columns.Labels);
        writer.Write(columns.Scores);
        vocabulary.Save(writer);
        keys.Save(environment, writer);
    }

    // Called by ML.NET when it reads a frame.
    internal static EntityFrame Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        return Read(environment, ctx.Reader);
    }

    public override void Save(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        Write(ctx.Writer);
    }

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(EntityFrame));
}
