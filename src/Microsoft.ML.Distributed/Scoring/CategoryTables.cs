using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The tables of a network's categories, whose ids are a row's last inputs.</summary>
internal sealed class CategoryTables(MlpSpec mlp, IReadOnlyDictionary<string, float[]> tensors)
{
    private readonly (CategorySpec Sizes, float[] Table)[] _tables = [.. mlp.Categories.Select((c, i) => (c, tensors[CategorySpec.TableName(i)]))];

    public int InputSize { get; } = mlp.InputSize;

    public int NumberSize { get; } = mlp.NumberSize;

    /// <summary>Writes what ids become, one behind the other.</summary>
    public void Embed(ReadOnlySpan<float> ids, Span<float> to)
    {
        for (var i = 0; i < _tables.Length; i++)
        {
            var (sizes, table) = _tables[i];
            table.AsSpan(sizes.RowOf(ids[i]) * sizes.Width, sizes.Width).CopyTo(to);
            to = to[sizes.Width..];
        }
    }
}
