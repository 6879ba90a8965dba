using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>
/// Trains small additions to an encoder's linear layers, whose own weights stay as they are (LoRA, Hu et al., arXiv:2106.09685): of a
/// weight W becomes W + Alpha / Rank * B A. The model that comes back has the sums.
/// </summary>
public sealed record LowRankAdapter
{
    /// <summary>The rows of A and columns of B, from 1 to the encoder's width.</summary>
    /// <value>8</value>
    public int Rank { get; init; } = 8;

    /// <summary>How much the additions count, above 0.</summary>
    /// <value>16</value>
    public double Alpha { get; init; } = 16;

    /// <summary>Which layers: of attention "query", "key", "value" and "output", of the feed-forward "up" and "down".</summary>
    /// <value>["query", "value"]</value>
    public IReadOnlyList<string> Targets { get; init; } = ["query", "value"];

    internal AdapterSpec ToSpec() => new() { Rank = Rank, Alpha = Alpha, Targets = { Targets ?? [] } };
}
