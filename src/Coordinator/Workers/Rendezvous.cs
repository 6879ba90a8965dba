using Google.Protobuf;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>
/// Gives every worker's text of a round to all of an attempt's workers, when all have brought theirs. Of bounded size: one
/// round, of texts that are bounded themselves. Workers repeat what may have been lost: what is old is answered again.
/// </summary>
internal sealed class Rendezvous
{
    private int _round = -1;
    private ByteString?[] _texts = [];

    /// <summary>Takes a worker's text.</summary>
    /// <param name="participant">Its place among the attempt's workers.</param>
    /// <param name="count">How many there are.</param>
    /// <param name="gather">What it says.</param>
    /// <returns>What to tell, and whom: all, or the one who asked again; null: nobody yet.</returns>
    public (Gathered Told, bool ToAll)? Take(int participant, int count, Gather gather)
    {
        if (gather.Round < _round)
            return null;
        if (gather.Round > _round)
            (_round, _texts) = (gather.Round, new ByteString?[count]);
        var isKnown = _texts[participant] is not null;
        _texts[participant] ??= gather.Text;
        return _texts.Any(t => t is null) ? null : (new Gathered { AttemptId = gather.AttemptId, Round = _round, Texts = { _texts } }, !isKnown);
    }
}
