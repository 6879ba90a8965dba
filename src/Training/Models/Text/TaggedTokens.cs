using MLDistributed.Protocol;
using MLDistributed.Training.Data;
using MLDistributed.Training.Metrics;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Models;

/// <summary>
/// The tokens of a part of a batch that are labelled, one a line: [labelled tokens, classes + <see cref="TaggingSums.Besides"/>], the logits, and
/// behind them the label's class, what the token counts in the loss, and whether it is its row's first. What is not labelled, as the
/// later pieces of a word and padding, has no line: the batches of an epoch can be put one behind the other, whatever their lengths.
/// </summary>
internal static class TaggedTokens
{
    /// <summary>Makes them.</summary>
    /// <param name="spec">The encoder.</param>
    /// <param name="encoded">rows x length x width.</param>
    /// <param name="batch">The rows, with their tags behind the ids. A row's weight is shared by its labelled tokens.</param>
    /// <param name="classify">The head: of tokens x width.</param>
    public static Tensor Outputs(TextSpec spec, Tensor encoded, Batch batch, Func<Tensor, Tensor> classify)
    {
        var (rows, length) = (encoded.shape[0], encoded.shape[1]);
        var tags = batch.Features.narrow(1, spec.InputSize, length);
        var labelled = tags.gt(0);
        var counts = labelled.sum(1).to(ScalarType.Float32);
        // Device sync here: how many there are decides shapes.
        var places = labelled.reshape(-1).nonzero().view(-1);
        var rowOf = places.div(length, RoundingMode.floor);
        var shares = (batch.Weights ?? ones([rows], ScalarType.Float32, encoded.device)).div(counts.clamp_min(1));
        var isFirst = labelled.to(ScalarType.Float32).cumsum(1).reshape(-1).index_select(0, places).eq(1).to(ScalarType.Float32);
        var logits = classify(encoded.reshape(-1, spec.Width).index_select(0, places));
        var classes = tags.reshape(-1).index_select(0, places).sub(1);
        return cat([logits, stack([classes, shares.index_select(0, rowOf), isFirst], 1)], 1);
    }

    /// <summary>The weighted sum of their losses.</summary>
    public static Tensor Loss(JobSpec spec, Tensor tokens)
    {
        var classes = tokens.shape[1] - TaggingSums.Besides;
        return Losses.Sum(spec, tokens.narrow(1, 0, classes), tokens.select(1, classes).to(ScalarType.Int64), tokens.select(1, classes + 1));
    }
}
