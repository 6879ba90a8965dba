using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Runtime;

[assembly: LoadableClass(typeof(TextTokensTransformer), null, typeof(SignatureLoadModel), "Text tokens", TextTokensTransformer.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>Makes a vector of token ids of one or two text columns, 0 behind the last.</summary>
internal sealed class TextTokensTransformer : RowToRowTransformerBase, INetworkInputs
{
    public const string LoaderSignature = "MLDistTextTokens";
    private const string ModelSignature = "MLDTOKEN";
    private const int MaxSavedTokens = 1 << 16;

    private readonly TextTokenizer _tokenizer;

    public TextTokensTransformer(IHostEnvironment environment, TextVocabulary vocabulary, int maxTokens, string output, string text, string? other)
        : base(environment.Register(LoaderSignature))
    {
        (Vocabulary, MaxTokens, Output, Text, Other) = (vocabulary, maxTokens, output, text, other);
        _tokenizer = new TextTokenizer(vocabulary);
    }

    public TextVocabulary Vocabulary { get; }

    public int MaxTokens { get; }

    private string Output { get; }

    private string Text { get; }

    private string? Other { get; }

    // Called by ML.NET when it loads a model file.
    internal static TextTokensTransformer Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        try
        {
            var (output, text, other) = (ctx.Reader.ReadString(), ctx.Reader.ReadString(), ctx.Reader.ReadString());
            var maxTokens = ctx.Reader.ReadInt32();
            var vocabulary = TextVocabulary.Load(ctx.Reader);
            if (maxTokens is < 3 or > MaxSavedTokens || output.Length == 0 || text.Length == 0)
                throw new FormatException($"it has {maxTokens:N0} tokens a row of column \"{text}\"");
            return new TextTokensTransformer(environment, vocabulary, maxTokens, output, text, other.Length == 0 ? null : other);
        }
        catch (Exception e) when (e is IOException or FormatException or ArgumentException)
        {
            throw new FormatException($"The text tokens in the model file are damaged ({e.Message.TrimEnd('.')}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    protected override void SaveModel(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        // *** Binary format ***
        // string: output column, text column, second text column or ""
        // int: tokens of a row
        // <vocabulary>
        ctx.Writer.Write(Output);
        ctx.Writer.Write(Text);
        ctx.Writer.Write(Other ?? "");
        ctx.Writer.Write(MaxTokens);
        Vocabulary.Save(ctx.Writer);
    }

    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    /// <summary>A column of texts.</summary>
    internal static int Find(DataViewSchema schema, string name) => schema.GetColumnOrNull(name) switch
    {
        { Type: TextDataViewType } column => column.Index,
        { } column => throw new ArgumentOutOfRangeException(nameof(schema), $"Column \"{name}\" is {column.Type}, expected a text."),
        null => throw new ArgumentOutOfRangeException(nameof(schema), $"Text column \"{name}\" is not in the data, whose columns are {string.Join(", ", schema.Select(c => $"\"{c.Name}\""))}."),
    };

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(TextTokensTransformer));

    private sealed class Mapper : MapperBase
    {
        private readonly TextTokensTransformer _parent;
        private readonly int[] _columns;

        public Mapper(TextTokensTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            _parent = parent;
            _columns = [.. new[] { parent.Text, parent.Other }.OfType<string>().Select(name => Find(schema, name))];
        }

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() => [new(_parent.Output, new VectorDataViewType(NumberDataViewType.Single, _parent.MaxTokens))];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) => column => activeOutput(0) && _columns.Contains(column);

        protected override void SaveModel(ModelSaveContext ctx) => _parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var text = input.GetGetter<ReadOnlyMemory<char>>(input.Schema[_columns[0]]);
            var other = _columns.Length < 2 ? null : input.GetGetter<ReadOnlyMemory<char>>(input.Schema[_columns[1]]);
            ReadOnlyMemory<char> a = default, b = default;
            ValueGetter<VBuffer<float>> get = (ref VBuffer<float> tokens) =>
            {
                text(ref a);
                other?.Invoke(ref b);
                var ids = _parent._tokenizer.Encode(a, other is null ? null : b, _parent.MaxTokens);
                var editor = VBufferEditor.Create(ref tokens, _parent.MaxTokens);
                editor.Values.Clear();
                for (var i = 0; i < ids.Count; i++)
                    editor.Values[i] = ids[i];
                tokens = editor.Commit();
            };
            return get;
        }
    }
}
