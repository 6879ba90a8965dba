using Microsoft.ML.Data;
using Microsoft.ML.Runtime;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Makes training rows of a module whose outputs are columns: its inputs and its labels behind them, and a label column that says
/// whether a row has all of its labels. It is for training alone, and is not saved.
/// </summary>
internal sealed class LabelledInputsTransformer(IHostEnvironment environment, TrainingColumns output, IReadOnlyList<InputColumn> inputs, IReadOnlyList<InputColumn> labels)
    : RowToRowTransformerBase(environment.Register(nameof(LabelledInputsTransformer)))
{
    protected override void SaveModel(ModelSaveContext ctx) => throw Host.ExceptNotSupp("Training rows are not saved.");

    protected override IRowMapper MakeRowMapper(DataViewSchema schema) => new Mapper(this, schema);

    private TrainingColumns Output => output;

    private (IReadOnlyList<InputColumn> Inputs, IReadOnlyList<InputColumn> Labels) Columns => (inputs, labels);

    private sealed class Mapper(LabelledInputsTransformer parent, DataViewSchema schema) : MapperBase(parent.Host.Register(nameof(Mapper)), schema, parent)
    {
        private readonly InputRow _row = new([.. parent.Columns.Inputs, .. parent.Columns.Labels]);
        private readonly InputRow _labels = new(parent.Columns.Labels);

        protected override DataViewSchema.DetachedColumn[] GetOutputColumnsCore() =>
        [
            new(parent.Output.Features, _row.Type, _row.Annotations(InputSchema)),
            new(parent.Output.Label, NumberDataViewType.Single),
        ];

        protected override Func<int, bool> GetDependenciesCore(Func<int, bool> activeOutput) =>
            column => (activeOutput(0) && _row.Reads(InputSchema[column].Name)) || (activeOutput(1) && _labels.Reads(InputSchema[column].Name));

        protected override void SaveModel(ModelSaveContext ctx) => parent.SaveModel(ctx);

        protected override Delegate MakeGetter(DataViewRow input, int iinfo, Func<int, bool> activeOutput, out Action? disposer)
        {
            disposer = null;
            if (iinfo == 0)
                return _row.VectorGetter(input);
            var fill = _labels.Filler(input);
            var numbers = new float[_labels.Type.Size];
            // A missing number is one that nothing can be learnt from: its row is left out, as of any label.
            ValueGetter<float> missing = (ref float value) =>
            {
                fill(numbers);
                value = numbers.AsSpan().Contains(float.NaN) ? float.NaN : 0;
            };
            return missing;
        }
    }
}
