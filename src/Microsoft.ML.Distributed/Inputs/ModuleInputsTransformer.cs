using Microsoft.ML;
using Microsoft.ML.Data;
using Microsoft.ML.Distributed;
using Microsoft.ML.Model.OnnxConverter;
using Microsoft.ML.Runtime;
using MLDistributed.Protocol;

[assembly: LoadableClass(typeof(ModuleInputsTransformer), null, typeof(SignatureLoadModel), "Inputs of a module", ModuleInputsTransformer.LoaderSignature)]

namespace Microsoft.ML.Distributed;

/// <summary>Makes one vector of the columns that are a module's inputs: numbers as they are, keys as whole ones from 1, and 0 where there is none.</summary>
internal sealed class ModuleInputsTransformer : RowToRowTransformerBase, INetworkInputs
{
    public const string LoaderSignature = "MLDistModuleInputs";
    private const string ModelSignature = "MLDINPUT";

    private readonly string _output;
    private readonly IReadOnlyList<InputColumn> _columns;

    public ModuleInputsTransformer(IHostEnvironment environment, string output, IReadOnlyList<InputColumn> columns)
        : base(environment.Register(LoaderSignature)) => (_output, _columns) = (output, columns);

    // Called by ML.NET when it loads a model file.
    internal static ModuleInputsTransformer Create(IHostEnvironment environment, ModelLoadContext ctx)
    {
        ctx.CheckAtModel(Version());
        try
        {
            var (output, count) = (ctx.Reader.ReadString(), ctx.Reader.ReadInt32());
            if (output.Length == 0 || count is < 1 or > TorchKind.MaxInputs)
                throw new FormatException($"it has {count:N0} columns");
            var columns = new InputColumn[count];
            foreach (ref var column in columns.AsSpan())
            {
                column = new InputColumn(ctx.Reader.ReadString(), ctx.Reader.ReadInt32(), ctx.Reader.ReadBoolean(), ctx.Reader.ReadInt32());
                if (column.Name.Length == 0 || column.Size < 1 || (!column.IsVector && column.Size > 1) || column.KeyCount is < 0 or > TorchKind.MaxKeyCount)
                    throw new FormatException($"column \"{VisibleText.Shortened(column.Name)}\" is {column}");
            }

            if (columns.Sum(c => (long)c.Size) > DatasetSchema.MaxFeatures)
                throw new FormatException("its columns have too many numbers");
            return new ModuleInputsTransformer(environment, output, columns);
        }
        catch (Exception e) when (e is IOException or FormatException)
        {
            throw new FormatException($"The inputs of a module in the model file are damaged ({e.Message.TrimEnd('.')}), expected what ml.Model.Save wrote. Copy the file again from its source, or train anew.", e);
        }
    }

    protected override void SaveModel(ModelSaveContext ctx)
    {
        ctx.CheckAtModel();
        ctx.SetVersionInfo(Version());
        // *** Binary format ***
        // string: output column
        // int: columns; of each:
        // string: its name; int: numbers of a row; bool: whether it is a vector; int: its keys, 0 of numbers
        ctx.Writer.Write(_output);
        ctx.Writer.Write(_columns.Count);
        foreach (var column in _columns)
        {
            ctx.Writer.Write(column.Name);
            ctx.Writer.Write(column.Size);
            ctx.Writer.Write(column.IsVector);
            ctx.Writer.Write(column.KeyCount);
        }
    }

    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private static VersionInfo Version() => ModelVersion.First(ModelSignature, LoaderSignature, typeof(ModuleInputsTransformer));

    private sealed class Mapper : MapperBase, ISaveAsOnnx
    {
        private readonly ModuleInputsTransformer _parent;
        private readonly InputRow _row;

        public Mapper(ModuleInputsTransformer parent, DataViewSchema schema)
            : base(parent.Host.Register(nameof(Mapper)), schema, parent)
        {
            _parent = parent;
            foreach (var column in parent._columns)
                if (column.Mismatch(schema, "Input") is { } error)
                    throw new ArgumentOutOfRangeException(nameof(schema), error);
            _row = new InputRow(parent._columns);
        }

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() => [new(_parent._output, _row.Type, _row.Annotations(InputSchema))];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) => column => activeOutput(0) && _row.Reads(InputSchema[column].Name);

        protected override void SaveModel(ModelSaveContext ctx) => _parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            return _row.VectorGetter(input);
        }

        bool ICanSaveOnnx.CanSaveOnnx(OnnxContext ctx) => true;

        void ISaveAsOnnx.SaveAsOnnx(OnnxContext ctx)
        {
            var parts = _parent._columns.Select(column =>
            {
                var name = ctx.GetVariableName(column.Name);
                return column.IsKey ? OnnxConversion.ToSingle(ctx, name) : name;
            }).ToArray();
            OnnxConversion.Join(ctx, parts, ctx.AddIntermediateVariable(_row.Type, _parent._output));
        }
    }
}
