using Google.Protobuf;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>
/// Gives every worker's text of a round to all of an attempt's workers, when all have brought theirs. Of bounded size: two
/// rounds, of texts that are bounded themselves. Workers repeat what may have been lost: of who has the answer of a round all others
/// have been in it, so that nobody is more than one behind.
/// </summary>
internal sealed class Rendezvous
{
    private (int Number, ByteString?[]? Texts) _newest = (-1, null);
    private (int Number, ByteString?[]? Texts) _before = (-1, null);

    /// <summary>Takes a worker's text.</summary>
    /// <param name="participant">Its place among the attempt's workers.</param>
    /// <param name="count">How many there are.</param>
    /// <param name="gather">What it says.</param>
    /// <returns>What to tell, and whom: all, or the one who asked again; null: nobody yet.</returns>
    public (Gathered Told, bool ToAll)? Take(int participant, int count, Gather gather)
    {
        if (gather.Round > _newest.Number)
            (_before, _newest) = (_newest, (gather.Round, new ByteString?[count]));
        var texts = gather.Round == _newest.Number ? _newest.Texts : gather.Round == _before.Number ? _before.Texts : null;
        if (texts is null)
            return null;
        var isKnown = texts[participant] is not null;
        texts[participant] ??= gather.Text;
        return texts.Any(t => t is null) ? null : (new Gathered { AttemptId = gather.AttemptId, Round = gather.Round, Texts = { texts } }, !isKnown);
    }
}
