using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Rows to try a module on: of any size, or, where features are looked up in tables, such as are in all of them.</summary>
/// <param name="Limit">Features are from 0 to below it; null: they are normal random numbers.</param>
internal sealed record SampleRows(int? Limit)
{
    public static readonly SampleRows Normal = new((int?)null);

    /// <summary>What a module is tried on, one after the other, while a table has no such entry.</summary>
    public static readonly SampleRows[] Kinds = [Normal, new(2), new(1)];

    /// <param name="rows">Their number.</param>
    /// <param name="inputs">Features of a row.</param>
    /// <param name="scale">How large they are, where any size will do.</param>
    public Tensor Make(int rows, int inputs, float scale = 1) => Limit is { } limit ? rand([rows, inputs]).mul_(limit) : randn([rows, inputs]).mul_(scale);

    /// <summary>Whether an exception of a module says that a table lacks an entry.</summary>
    public static bool IsOutside(Exception e) => e.Message.Contains("index out of range", StringComparison.OrdinalIgnoreCase);
}
