using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>Rows made while they are read, as those of a file are.</summary>
internal sealed class GeneratedData : IDataView
{
    private readonly long _rows;
    private readonly int _size;

    public GeneratedData(long rows, int size)
    {
        (_rows, _size) = (rows, size);
        var builder = new DataViewSchema.Builder();
        builder.AddColumn("Features", new VectorDataViewType(NumberDataViewType.Single, size));
        builder.AddColumn("Value", NumberDataViewType.Single);
        Schema = builder.ToSchema();
    }

    public long PeakMemory { get; private set; }

    public bool CanShuffle => false;

    public DataViewSchema Schema { get; }

    public long? GetRowCount() => _rows;

    public DataViewRowCursor GetRowCursor(IEnumerable<DataViewSchema.Column> columnsNeeded, Random? rand = null) => new Cursor(this, [.. columnsNeeded.Select(c => c.Index)]);

    public DataViewRowCursor[] GetRowCursorSet(IEnumerable<DataViewSchema.Column> columnsNeeded, int n, Random? rand = null) => [GetRowCursor(columnsNeeded, rand)];

    private sealed class Cursor(GeneratedData data, HashSet<int> active) : DataViewRowCursor
    {
        private long _position = -1;

        public override long Position => _position;

        public override long Batch => 0;

        public override DataViewSchema Schema => data.Schema;

        public override bool MoveNext()
        {
            if (_position % 4096 == 0)
                data.PeakMemory = Math.Max(data.PeakMemory, GC.GetTotalMemory(forceFullCollection: false));
            return ++_position < data._rows;
        }

        public override bool IsColumnActive(DataViewSchema.Column column) => active.Contains(column.Index);

        public override ValueGetter<DataViewRowId> GetIdGetter() => (ref DataViewRowId id) => id = new DataViewRowId((ulong)_position, 0);

        public override ValueGetter<TValue> GetGetter<TValue>(DataViewSchema.Column column)
        {
            Assert.IsTrue(IsColumnActive(column), $"column {column.Name} was not asked for");
            Delegate getter = column.Index == 1
                ? (ValueGetter<float>)((ref float value) => value = _position % 13)
                : (ValueGetter<VBuffer<float>>)((ref VBuffer<float> value) =>
                {
                    var editor = VBufferEditor.Create(ref value, data._size);
                    editor.Values.Fill(_position % 101);
                    value = editor.Commit();
                });
            return (ValueGetter<TValue>)getter;
        }
    }
}
