using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Optimization;
using Training.Tests.Loop;

namespace Training.Tests.Commits;

/// <summary>Which state hosts agree on. "room 30 a": there is room, and the state of step 30 of attempt a; "-": a rank that does not speak for its host.</summary>
[TestClass]
public sealed class CommitChoiceTests
{
    [TestMethod]
    [DataRow("room 0 a, room 0 a", -1, 0, false, true, DisplayName = "nothing is kept")]
    [DataRow("room 30 a, -, room 30 a, -", 0, 30, true, true, DisplayName = "all have the same")]
    [DataRow("room 30 a, room 20 a", 0, 30, false, true, DisplayName = "the second was killed in the middle of its commit")]
    [DataRow("room 20 a, -, room 30 a", 2, 30, false, true, DisplayName = "the first was")]
    [DataRow("room 0 a, room 30 a, room 30 a", 1, 30, false, true, DisplayName = "a host is new")]
    [DataRow("room 30 a, room 30 b", 0, 30, false, true, DisplayName = "the same step of two attempts is not the same")]
    [DataRow("room 30 b, room 50 a, room 50 b", 1, 50, false, true, DisplayName = "a host that sat an attempt out is ahead")]
    [DataRow("room 30 a, full 0 a", 0, 30, false, true, DisplayName = "one has no room, and asks the other")]
    [DataRow("full 0 a, full 0 a", -1, 0, false, false, DisplayName = "none has room")]
    [DataRow("room 30 a", 0, 30, true, true, DisplayName = "one host")]
    public void Choice_OfOffers_IsTheNewestWholeState(string offers, int source, long step, bool isEverywhere, bool hasRoom) =>
        Assert.AreEqual(new CommitChoice(source, step, isEverywhere, hasRoom, HasRoomHere: offers.StartsWith("room", StringComparison.Ordinal)), CommitChoice.Of([.. offers.Split(", ").Select(Parse)], speaker: 0));

    [TestMethod]
    public void Offer_TakesTheWayThroughSums_AsItIs()
    {
        using var alone = Cluster.Alone();
        foreach (var attempt in (ulong[])[0, 1, uint.MaxValue, 1UL << 32, ulong.MaxValue, Commit.AttemptOf("attempt")])
            foreach (var step in (long[])[0, 7, 12_000_000_000])
            {
                var offer = new CommitOffer(SpeaksForHost: true, HasRoom: attempt % 2 == 0, step, attempt);
                Assert.AreEqual(offer, offer.Exchange(alone).Single());
            }

        Assert.AreEqual(default, new CommitOffer(SpeaksForHost: false, HasRoom: true, 5, 5).Exchange(alone).Single(), "Who does not speak for a host says nothing.");
    }

    // A checkpoint that is being written has a checksum of each part in the same words, which rank 0 must not plan over.
    [TestMethod]
    public void PlannedWord_BesideACheckpointOfTheLongestState_HasAPlaceOfItsOwn()
    {
        using var memory = Cluster.Memory(1);
        var spec = new OptimizerSpec { Adamw = new AdamWSpec(), AveragingDecay = 0.9 };
        var words = CheckpointWriter.WordsOf(1 + FlatOptimizer.StateNames(spec).Count);
        for (var word = 0; word < words; word++)
            memory.Signal(0, word) = -1;
        Assert.AreEqual((0L, 0L), (PlannedWord.Of(memory, 1), PlannedWord.Of(memory, 2)));
        PlannedWord.Of(memory, 1) = PlannedWord.Of(memory, 2) = 5;
        Assert.AreEqual(2, Enumerable.Range(words, SharedSegment.SignalCount - words).Count(w => memory.Signal(0, w) == 5), "Both are words of the segment.");
    }

    private static CommitOffer Parse(string offer) => offer.Split(' ') is [var room, var step, var attempt]
        ? new CommitOffer(SpeaksForHost: true, room == "room", long.Parse(step), Commit.AttemptOf(attempt))
        : new CommitOffer(SpeaksForHost: false, HasRoom: false, 99, 0);
}
