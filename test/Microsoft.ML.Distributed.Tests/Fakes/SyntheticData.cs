using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed.Tests;

internal sealed class Example
{
    [VectorType(4)]
    public float[] Features { get; set; } = [];

    public string Kind { get; set; } = "";

    public bool Label { get; set; }

    [KeyType(1 << 20)]
    public uint Group { get; set; }

    public float Value { get; set; }

    public float Weight { get; set; } = 1;
}

/// <summary>Rows that a linear model learns.</summary>
internal static class SyntheticData
{
    public static readonly string[] Kinds = ["ant", "bee", "cat"];

    public static List<Example> Examples(int count = 150, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(i =>
        {
            var kind = i % 3;
            var features = RandomNetworks.Values(random, 4, 1);
            features[kind] += 3;
            features[3] = (features[3] * 100) + 1000;
            return new Example
            {
                Features = features,
                Kind = Kinds[kind],
                Label = kind == 0,
                Group = (uint)(i / 10),
                Value = (10 * features[0]) - (5 * features[1]) + (features[3] / 50),
                Weight = 1 + kind,
            };
        })];
    }
}
