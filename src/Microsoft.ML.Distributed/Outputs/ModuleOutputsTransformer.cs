using System.Runtime.CompilerServices;
using Google.Protobuf;
using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;
using MLDistributed.Protocol.Onnx;

[assembly: LoadableClass(typeof(ModuleOutputsTransformer), null, typeof(SignatureLoadModel), "Outputs of a module", ModuleOutputsTransformer.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>Scores with a module of your own whose outputs are columns, each a vector of Single of a known size, or, of one number, a Single.</summary>
/// <remarks>Scoring is thread-safe, and without libtorch. A row is scored once, however many of its columns are read.</remarks>
public sealed class ModuleOutputsTransformer : RowToRowTransformerBase
{
    internal const string LoaderSignature = "MLDistModuleOutputs";
    private const string ModelSignature = "MLDOUTPT";

    private readonly TrainedNetwork _network;
    private readonly string _features;
    private readonly IReadOnlyList<DataViewType> _types;

    internal ModuleOutputsTransformer(IHostEnvironment environment, TrainedNetwork network, string features)
        : base(environment.Register(LoaderSignature))
    {
        (_network, _features) = (network, features);
        if (network is not { Spec: { Task: MlTask.Own, Module.Torch: { } torch }, Scorer: ProgramScorer scorer } || scorer.OutputSizes.Count != torch.Outputs.Count || torch.Outputs.Any(o => o.Column.Length == 0))
            throw new FormatException($"The network was trained for {network.Spec.Task}, expected one whose outputs are columns. Copy the file again from its source, or train anew.");
        Columns = [.. torch.Outputs.Select(o => o.Column)];
        _types = [.. scorer.OutputSizes.Zip(torch.Outputs, (size, output) => size == 1 && output.NumberIsScalar ? (DataViewType)NumberDataViewType.Single : new VectorDataViewType(NumberDataViewType.Single, size))];
    }

    /// <summary>What was trained.</summary>
    internal TrainedNetwork Network => _network;

    /// <summary>The columns that it makes, in the order of the module's outputs.</summary>
    public IReadOnlyList<string> Columns { get; }

    /// <summary>The id of the job that trained the module.</summary>
    public string JobId => _network.JobId;

    /// <summary>Losses, the module's own metrics, epochs and timings of the training.</summary>
    public TrainingSummary Summary => TrainingSummary.From(_network.Result);

    /// <summary>
    /// Writes the module as an ONNX file, which any ONNX runtime scores: an input for each of its inputs, [N, size] of Float, or of Int64 for keys, from 1, and
    /// 0 for a missing one; an output for each column, [N, size] of Float.
    /// </summary>
    /// <param name="path">The file; an existing one is replaced.</param>
    /// <example><code>model.LastTransformer.LastTransformer.SaveOnnx("shop.onnx");</code></example>
    public void SaveOnnx(string path) => File.WriteAllBytes(path, OnnxBytes());

    /// <summary>Writes the module as an ONNX model.</summary>
    /// <param name="stream">The stream; it stays open.</param>
    public void SaveOnnx(Stream stream)
    {
        ArgumentNullException.ThrowIfNull(stream);
        stream.Write(OnnxBytes());
    }

    private byte[] OnnxBytes() => OnnxNamedColumns.Split(ModelProto.Parser.ParseFrom(_network.Onnx), _network.Spec.Module.Torch.Inputs, Columns).ToByteArray();

    // Called by ML.NET when it loads a model file.
    internal static ModuleOutputsTransformer Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        NetworkVersion.Check(ctx, ModelSignature, LoaderSignature);
        try
        {
            return ctx.Reader.ReadString() is { Length: > 0 } features ? new ModuleOutputsTransformer(environment, TrainedNetwork.Read(ctx.Reader), features) : throw new FormatException("its features have no name");
        }
        catch (IOException e)
        {
            throw new FormatException($"The outputs of a module in the model file are damaged ({e.Message.TrimEnd('.')}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    /// <inheritdoc/>
    protected override void SaveModel(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(NetworkVersion.Of(ModelSignature, LoaderSignature));
        // *** Binary format ***
        // string: column of features
        // <network>
        ctx.Writer.Write(_features);
        _network.Write(ctx.Writer);
    }

    /// <inheritdoc/>
    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private sealed class Mapper : MapperBase, ISaveAsOnnx
    {
        private readonly ModuleOutputsTransformer _parent;
        private readonly DataViewSchema.Column _features;

        // The getters of a row are told what is scored once.
        private readonly ConditionalWeakTable<DataViewRow, ScoredRow> _rows = [];

        public Mapper(ModuleOutputsTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            _parent = parent;
            if (schema.GetColumnOrNull(parent._features) is not { Type: VectorDataViewType { ItemType: NumberDataViewType } type } column || type.ItemType != NumberDataViewType.Single || type.Size != parent._network.Scorer.InputSize)
                throw new ArgumentOutOfRangeException(nameof(schema), $"Feature column \"{parent._features}\" is {schema.GetColumnOrNull(parent._features)?.Type.ToString() ?? "not in the data"}, expected a vector of {parent._network.Scorer.InputSize:N0} Singles, which the transformer in front of this one makes.");
            _features = column;
        }

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() => [.. _parent.Columns.Zip(_parent._types, (name, type) => new DataViewSchema.DetachedColumn(name, type))];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) => column => column == _features.Index && Enumerable.Range(0, _parent.Columns.Count).Any(activeOutput);

        protected override void SaveModel(ModelSaveContext ctx) => _parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            var row = _rows.GetValue(input, r => new ScoredRow(r, r.Schema[_features.Index], _parent._network.Scorer));
            var sizes = ((ProgramScorer)_parent._network.Scorer).OutputSizes;
            var (start, size) = (sizes.Take(iinfo).Sum(), sizes[iinfo]);
            if (_parent._types[iinfo] is not VectorDataViewType)
                return (ValueGetter<float>)((ref float value) => value = row.Score()[start]);
            ValueGetter<VBuffer<float>> get = (ref VBuffer<float> value) =>
            {
                var editor = VBufferEditor.Create(ref value, size);
                row.Score().Slice(start, size).CopyTo(editor.Values);
                value = editor.Commit();
            };
            return get;
        }

        bool ICanSaveOnnx.CanSaveOnnx(OnnxContext ctx) => OnnxConversion.CanWrite(Graph());

        void ISaveAsOnnx.SaveAsOnnx(OnnxContext ctx) => OnnxConversion.Write(ctx, Graph(), ctx.GetVariableName(_parent._features),
            _parent.Columns.Index().ToDictionary(c => OnnxFrame.OutputName(c.Index), c => ctx.AddIntermediateVariable(_parent._types[c.Index], c.Item)));

        private GraphProto Graph() => ModelProto.Parser.ParseFrom(_parent._network.Onnx).Graph;
    }

    /// <summary>The row that a cursor is at, scored when it is asked for.</summary>
    private sealed class ScoredRow(DataViewRow input, DataViewSchema.Column features, IScorer scorer)
    {
        private readonly ValueGetter<VBuffer<float>> _get = input.GetGetter<VBuffer<float>>(features);
        private readonly RowScorer _run = scorer.CreateRunner();
        private readonly float[] _dense = new float[scorer.InputSize];
        private readonly float[] _outputs = new float[scorer.OutputSize];
        private VBuffer<float> _features;
        private long _at = -1;

        public ReadOnlySpan<float> Score()
        {
            if (_at == input.Position)
                return _outputs;
            _get(ref _features);
            _features.CopyTo(_dense);
            _run(_dense, _outputs);
            _at = input.Position;
            return _outputs;
        }
    }
}
