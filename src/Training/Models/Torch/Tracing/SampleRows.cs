using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>Rows to try a module on: of any size, or, where features are looked up in tables, such as are in all of them.</summary>
/// <param name="Limit">Features are from 0 to below it; null: they are normal random numbers.</param>
internal sealed record SampleRows(int? Limit)
{
    public static readonly SampleRows Normal = new((int?)null);

    /// <summary>What a module is tried on, one after the other, while a table has no such entry.</summary>
    public static readonly SampleRows[] Kinds = [Normal, new(2), new(1)];

    /// <summary>What the features of a row are; of ids any can come, whatever the limit.</summary>
    public ModuleRow Row { get; init; } = ModuleRow.One;

    /// <param name="rows">Their number.</param>
    /// <param name="inputs">Features of a row, labels among them.</param>
    /// <param name="scale">How large they are, where any size will do.</param>
    public Tensor Make(int rows, int inputs, float scale = 1)
    {
        var features = Limit is { } limit ? rand([rows, inputs]).mul_(limit) : randn([rows, inputs]).mul_(scale);
        foreach (var (input, start) in Row.Places())
        {
            if (input.KeyCount == 0)
                continue;
            var ids = features.narrow(1, start, input.Size).copy_(randint(input.KeyCount + 1L, [rows, input.Size]));
            // A table that is too small is found at once.
            if (rows > 1)
            {
                ids.narrow(0, 0, 1).fill_(input.KeyCount);
                ids.narrow(0, 1, 1).fill_(0);
            }
        }

        // What any loss can take: a share, a class.
        foreach (var (label, start) in Row.LabelPlaces())
            features.narrow(1, start, label.Size).copy_(label.KeyCount == 0 ? rand([rows, label.Size]) : randint(1, label.KeyCount + 1L, [rows, label.Size]));
        return features;
    }

    /// <summary>Whether an exception of a module says that a table lacks an entry.</summary>
    public static bool IsOutside(Exception e) => e.Message.Contains("index out of range", StringComparison.OrdinalIgnoreCase);
}
