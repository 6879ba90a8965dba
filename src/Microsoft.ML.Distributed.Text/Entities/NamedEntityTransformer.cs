using System.Runtime.CompilerServices;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

[assembly: LoadableClass(typeof(NamedEntityTransformer), null, typeof(SignatureLoadModel), "Named entities by a distributed network", NamedEntityTransformer.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>
/// Tells what each word of a text is. Output columns: the predicted labels, a vector of keys, and the probability of each, a vector of
/// Single; both have one slot a word, and none for a text without words.
/// </summary>
/// <remarks>
/// Words are what is between white space. A text of more tokens than the encoder takes is scored in parts of so many whole words.
/// </remarks>
public sealed class NamedEntityTransformer : RowToRowTransformerBase
{
    internal const string LoaderSignature = "MLDistEntities";
    private const string ModelSignature = "MLDENTTY";

    private readonly TrainedNetwork _network;
    private readonly EntityFrame _frame;
    private readonly WordTokenizer _tokenizer;

    internal NamedEntityTransformer(IHostEnvironment environment, TrainedNetwork network, EntityFrame frame)
        : base(environment.Register(LoaderSignature))
    {
        var text = network.Spec.Module?.Text;
        if (text?.Tags is null || text.InputSize < 3 || (uint)(text.OutputSize - frame.Keys.Type.GetCountAsInt32()) > 1)
            throw new FormatException($"The network has {text?.OutputSize ?? 0} classes of {text?.InputSize ?? 0} tokens, expected those of its {frame.Keys.Type.Count} labels. Copy the file again from its source, or train anew.");
        (_network, _frame) = (network, frame);
        _tokenizer = new WordTokenizer(new TextTokenizer(frame.Vocabulary), text.InputSize);
    }

    /// <summary>The id of the job that trained the network.</summary>
    public string JobId => _network.JobId;

    /// <summary>
    /// Losses, metrics, epochs and timings of the training. Accuracy is that of words; F1Score that of whole entities where labels are
    /// "O", "B-" and "I-" with a kind (an entity counts where both of its ends and its kind are right), else the mean of the classes' own.
    /// </summary>
    public TrainingSummary Summary => TrainingSummary.From(_network.Result);

    private EntityColumns Columns => _frame.Columns;

    private LabelKeys Keys => _frame.Keys;

    // Of a missing key before the first.
    private uint FirstKey => (uint)(Keys.Type.GetCountAsInt32() + 1 - _network.Scorer.OutputSize / _network.Scorer.InputSize);

    /// <summary>Writes the encoder as an ONNX file: input "features" [N, tokens], ids with 0 behind the last, output "score" [N, tokens, classes], of which a word's first token counts.</summary>
    /// <param name="path">The file; an existing one is replaced.</param>
    public void SaveOnnx(string path) => File.WriteAllBytes(path, _network.Onnx);

    /// <summary>Writes the encoder as an ONNX model.</summary>
    /// <param name="stream">The stream; it stays open.</param>
    public void SaveOnnx(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        stream.Write(_network.Onnx);
    }

    // Called by ML.NET when it loads a model file.
    internal static NamedEntityTransformer Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        try
        {
            var frame = EntityFrame.Read(environment, ctx.Reader);
            return new NamedEntityTransformer(environment, TrainedNetwork.Read(ctx.Reader), frame);
        }
        catch (Exception e) when (e is IOException or FormatException or ArgumentException)
        {
            throw new FormatException($"The named entities in the model file are damaged ({e.Message.TrimEnd('.')}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    /// <inheritdoc/>
    protected override void SaveModel(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        // *** Binary format ***
        // <frame>, <network>
        _frame.Write(ctx.Writer);
        _network.Write(ctx.Writer);
    }

    /// <inheritdoc/>
    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(NamedEntityTransformer));

    private sealed class Mapper(NamedEntityTransformer parent, DataViewSchema schema) : MapperBase(parent.Host.Register(nameof(Mapper)), schema, parent), ISaveAsOnnx
    {
        private readonly int _text = TextTokensTransformer.Find(schema, parent.Columns.Text);

        // Both getters of a row are told what is scored once.
        private readonly ConditionalWeakTable<DataViewRow, ScoredRow> _rows = [];

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() =>
        [
            new(parent.Columns.Labels, new VectorDataViewType(parent.Keys.Type), parent.Keys.Annotations),
            new(parent.Columns.Scores, new VectorDataViewType(NumberDataViewType.Single)),
        ];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) => column => column == _text && (activeOutput(0) || activeOutput(1));

        protected override void SaveModel(ModelSaveContext ctx) => parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var row = _rows.GetValue(input, r => new ScoredRow(parent, r, r.Schema[_text]));
            ValueGetter<VBuffer<uint>> labels = (ref VBuffer<uint> value) => Copy(row.Score().Keys, ref value);
            ValueGetter<VBuffer<float>> scores = (ref VBuffer<float> value) => Copy(row.Score().Scores, ref value);
            return iinfo == 0 ? labels : scores;
        }

        // ML.NET would leave it out of the graph with a warning, and fail at what reads its columns.
        bool ICanSaveOnnx.CanSaveOnnx(OnnxContext ctx) => throw parent.Host.ExceptNotSupp(
            "Named entities are not part of an ONNX model: ONNX has no tokenizer that cuts words into the pieces of a vocabulary. Save the encoder with NamedEntityTransformer.SaveOnnx, which takes token ids.");

        void ISaveAsOnnx.SaveAsOnnx(OnnxContext ctx) => throw parent.Host.ExceptNotSupp("Named entities are not part of an ONNX model.");

        private static void Copy<T>(List<T> from, ref VBuffer<T> to)
        {
            var editor = VBufferEditor.Create(ref to, from.Count);
            for (var i = 0; i < from.Count; i++)
                editor.Values[i] = from[i];
            to = editor.Commit();
        }
    }

    /// <summary>The row that a cursor is at, scored when it is asked for.</summary>
    private sealed class ScoredRow(NamedEntityTransformer parent, DataViewRow input, DataViewSchema.Column text)
    {
        private readonly ValueGetter<ReadOnlyMemory<char>> _getText = input.GetGetter<ReadOnlyMemory<char>>(text);
        private readonly RowScorer _run = parent._network.Scorer.CreateRunner();
        private readonly float[] _features = new float[parent._network.Scorer.InputSize];
        private readonly float[] _scores = new float[parent._network.Scorer.OutputSize];
        private readonly int _classes = parent._network.Scorer.OutputSize / parent._network.Scorer.InputSize;
        private ReadOnlyMemory<char> _text;
        private long _at = -1;

        public List<uint> Keys { get; } = [];

        public List<float> Scores { get; } = [];

        public ScoredRow Score()
        {
            if (_at == input.Position)
                return this;
            _at = input.Position;
            Keys.Clear();
            Scores.Clear();
            _getText(ref _text);
            foreach (var window in parent._tokenizer.Windows(_text))
                Add(window);
            return this;
        }

        private void Add(WordWindow window)
        {
            Array.Clear(_features);
            for (var i = 0; i < window.Ids.Count; i++)
                _features[i] = window.Ids[i];
            _run(_features, _scores);
            foreach (var place in window.Places)
            {
                var scores = _scores.AsSpan(place * _classes, _classes);
                var best = TensorPrimitives.IndexOfMax<float>(scores);
                Keys.Add((uint)best + parent.FirstKey);
                Scores.Add(scores[best]);
            }
        }
    }
}

/// <summary>The columns of named entities.</summary>
internal sealed record EntityColumns(string Text, string Labels, string Scores);
