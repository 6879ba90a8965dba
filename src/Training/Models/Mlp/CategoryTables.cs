using MLDistributed.Protocol;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Makes the first layer's inputs of rows with categories: their numbers, a row of each category's table, and the steps of the numbers.</summary>
/// <param name="spec">The sizes.</param>
/// <param name="tables">One for each category: its keys and 1 x its width. Row 0 is of what is missing or unknown.</param>
internal sealed class CategoryTables(MlpSpec spec, Tensor[] tables)
{
    /// <param name="rows">rows x (numbers, ids, steps); the ids are rows of the tables.</param>
    public Tensor Embed(Tensor rows)
    {
        var behind = spec.InputSize;
        Tensor[] parts =
        [
            rows.narrow(1, 0, spec.NumberSize),
            .. tables.Select((table, i) => table.index_select(0, rows.select(1, spec.NumberSize + i).to(ScalarType.Int64))),
            rows.narrow(1, behind, rows.shape[1] - behind),
        ];
        return cat(parts, 1);
    }
}
