using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>Some columns as one vector: numbers as they are, keys as whole ones from 1, and 0 where there is none.</summary>
internal sealed class InputRow
{
    private const int MostNamedSlots = 100_000;
    private readonly IReadOnlyList<InputColumn> _columns;

    public InputRow(IReadOnlyList<InputColumn> columns) => (_columns, Type) = (columns, new VectorDataViewType(NumberDataViewType.Single, columns.Sum(c => c.Size)));

    /// <summary>The vector's.</summary>
    public VectorDataViewType Type { get; }

    public bool Reads(string column) => _columns.Any(c => c.Name == column);

    public DataViewSchema.Annotations Annotations(DataViewSchema schema)
    {
        var annotations = new DataViewSchema.Annotations.Builder();
        if (Type.Size <= MostNamedSlots)
            annotations.AddSlotNames(Type.Size, (ref VBuffer<ReadOnlyMemory<char>> names) => names = new VBuffer<ReadOnlyMemory<char>>(Type.Size, [.. _columns.SelectMany(column => SlotNames(column, schema[column.Name]))]));
        return annotations.ToAnnotations();
    }

    /// <summary>Reads a row's vector.</summary>
    public ValueGetter<VBuffer<float>> VectorGetter(DataViewRow input)
    {
        var fill = Filler(input);
        return (ref VBuffer<float> row) =>
        {
            var editor = VBufferEditor.Create(ref row, Type.Size);
            fill(editor.Values);
            row = editor.Commit();
        };
    }

    /// <summary>Reads a row's numbers.</summary>
    public SpanFiller Filler(DataViewRow input)
    {
        var parts = _columns.Select(column => (column.Size, Fill: Part(column, input, input.Schema[column.Name].Index))).ToArray();
        return to =>
        {
            foreach (var (size, fill) in parts)
            {
                fill(to[..size]);
                to = to[size..];
            }
        };
    }

    private static IEnumerable<ReadOnlyMemory<char>> SlotNames(InputColumn column, DataViewSchema.Column source)
    {
        VBuffer<ReadOnlyMemory<char>> names = default;
        if (column.IsVector && source.HasSlotNames())
            source.GetSlotNames(ref names);
        return Enumerable.Range(0, column.Size).Select(i => i < names.Length && names.GetItemOrDefault(i) is { IsEmpty: false } name ? name : (column.IsVector ? $"{column.Name}[{i}]" : column.Name).AsMemory());
    }

    private static SpanFiller Part(InputColumn column, DataViewRow input, int index)
    {
        if (column.IsKey)
        {
            // Keys of any size are whole numbers of 64 bits too.
            if (!column.IsVector)
            {
                var getKey = RowCursorUtils.GetGetterAs<ulong>(NumberDataViewType.UInt64, input, index);
                var key = 0UL;
                return to =>
                {
                    getKey(ref key);
                    to[0] = Id(key, column);
                };
            }

            var getKeys = RowCursorUtils.GetVecGetterAs<ulong>(NumberDataViewType.UInt64, input, index);
            VBuffer<ulong> keys = default;
            return to =>
            {
                getKeys(ref keys);
                to.Clear();
                foreach (var (slot, key) in keys.Items())
                    to[slot] = Id(key, column);
            };
        }

        if (!column.IsVector)
        {
            var getNumber = input.GetGetter<float>(input.Schema[index]);
            var number = 0f;
            return to =>
            {
                getNumber(ref number);
                to[0] = number;
            };
        }

        var getNumbers = input.GetGetter<VBuffer<float>>(input.Schema[index]);
        VBuffer<float> numbers = default;
        return to =>
        {
            getNumbers(ref numbers);
            if (numbers.Length != column.Size)
                throw new InvalidDataException($"Input column \"{column.Name}\" has {numbers.Length:N0} slots in a row, expected {column.Size:N0}. Fix the source or drop the row.");
            to.Clear();
            foreach (var (slot, number) in numbers.Items())
                to[slot] = number;
        };
    }

    // What a column's type does not have is as if it were missing.
    private static float Id(ulong key, InputColumn column) => key <= (ulong)column.KeyCount ? key : 0;
}

/// <summary>Writes the numbers of a row.</summary>
internal delegate void SpanFiller(Span<float> to);
