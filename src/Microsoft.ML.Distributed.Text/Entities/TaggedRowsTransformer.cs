using System.Runtime.CompilerServices;
using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Makes training rows of labelled texts: token ids and as many tags behind them, which the first piece of each word has, and what the
/// row weighs, a label of one word counting 1. It is for training alone, and is not saved.
/// </summary>
internal sealed class TaggedRowsTransformer(IHostEnvironment environment, WordTokenizer tokenizer, WordTags tags, TrainingColumns output, string text, string label, string? weight)
    : RowToRowTransformerBase(environment.Register(nameof(TaggedRowsTransformer)))
{
    protected override void SaveModel(ModelSaveContext ctx) => throw Host.ExceptNotSupp("Training rows are not saved.");

    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private (string Text, string Label, string? Weight) Inputs => (text, label, weight);

    private (WordTokenizer Tokenizer, WordTags Tags, TrainingColumns Columns) Making => (tokenizer, tags, output);

    private sealed class Mapper(TaggedRowsTransformer parent, DataViewSchema schema) : MapperBase(parent.Host.Register(nameof(Mapper)), schema, parent)
    {
        private readonly int[] _columns = [.. new[] { parent.Inputs.Text, parent.Inputs.Label, parent.Inputs.Weight }.OfType<string>().Select(name => schema[name].Index)];

        // Its getters are asked one by one for what is made once.
        private readonly ConditionalWeakTable<DataViewRow, TaggedRow> _rows = [];

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() =>
        [
            new(parent.Making.Columns.Features, new VectorDataViewType(NumberDataViewType.Single, 2 * parent.Making.Tokenizer.MostTokens)),
            new(parent.Making.Columns.Label, NumberDataViewType.Single),
            new(parent.Making.Columns.Weight!, NumberDataViewType.Single),
        ];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) => _columns.Contains;

        protected override void SaveModel(ModelSaveContext ctx) => parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var row = _rows.GetValue(input, r => new TaggedRow(parent, r));
            ValueGetter<VBuffer<float>> features = (ref VBuffer<float> value) =>
            {
                row.Read();
                var editor = VBufferEditor.Create(ref value, row.Features.Length);
                row.Features.CopyTo(editor.Values);
                value = editor.Commit();
            };
            ValueGetter<float> label = (ref float value) => value = 0;
            ValueGetter<float> weight = (ref float value) =>
            {
                row.Read();
                value = row.Weight;
            };
            return iinfo switch { 0 => features, 1 => label, _ => weight };
        }
    }

    /// <summary>The row that a cursor is at.</summary>
    private sealed class TaggedRow
    {
        private readonly TaggedRowsTransformer _parent;
        private readonly DataViewRow _input;
        private readonly ValueGetter<ReadOnlyMemory<char>> _getText;
        private readonly ValueGetter<VBuffer<uint>> _getLabels;
        private readonly ValueGetter<float>? _getWeight;
        private ReadOnlyMemory<char> _text;
        private VBuffer<uint> _labels;
        private long _at = -1;

        public TaggedRow(TaggedRowsTransformer parent, DataViewRow input)
        {
            (_parent, _input) = (parent, input);
            _getText = input.GetGetter<ReadOnlyMemory<char>>(input.Schema[parent.Inputs.Text]);
            _getLabels = input.GetGetter<VBuffer<uint>>(input.Schema[parent.Inputs.Label]);
            _getWeight = parent.Inputs.Weight is { } weight ? input.GetGetter<float>(input.Schema[weight]) : null;
            Features = new float[2 * parent.Making.Tokenizer.MostTokens];
        }

        public float[] Features { get; }

        public float Weight { get; private set; }

        public void Read()
        {
            if (_at == _input.Position)
                return;
            _at = _input.Position;
            _getText(ref _text);
            _getLabels(ref _labels);
            var (weight, counted) = (1f, 0);
            _getWeight?.Invoke(ref weight);
            var (tokenizer, tags, _) = _parent.Making;
            Array.Clear(Features);
            if (tokenizer.Windows(_text).FirstOrDefault() is { } window)
            {
                for (var i = 0; i < window.Ids.Count; i++)
                    Features[i] = window.Ids[i];
                foreach (var (key, place) in _labels.DenseValues().Zip(window.Places))
                {
                    var tag = Features[tokenizer.MostTokens + place] = tags.ToTag(key);
                    counted += tag > 0 ? 1 : 0;
                }
            }

            Weight = weight * counted;
        }
    }
}
