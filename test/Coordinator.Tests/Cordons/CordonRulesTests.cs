using System.Globalization;
using MLDistributed.Coordinator.Cordons;

namespace MLDistributed.Coordinator.Tests.Cordons;

[TestClass]
public sealed class CordonRulesTests
{
    private static readonly TimeSpan Now = TimeSpan.FromMinutes(60);

    [TestMethod]
    // what ended: minute, worker, job, how (well, crashed, lost) | cordons before | for how many minutes w0 is cordoned, and why; empty: not
    [DataRow("60w0a-crashed", 0, "", DisplayName = "a first failure")]
    [DataRow("55w0a-crashed 60w0a-crashed", 0, "5: 2 of the 2 attempts on it failed within 10 min", DisplayName = "two")]
    [DataRow("55w0a-crashed 60w0b-crashed", 0, "5: 2 of the 2 attempts on it failed within 10 min", DisplayName = "two of different jobs")]
    [DataRow("49w0a-crashed 60w0a-crashed", 0, "", DisplayName = "one of them long ago")]
    [DataRow("52w0b-well 53w0c-well 54w0a-crashed 60w0a-crashed", 0, "5: 2 of the 4 attempts on it failed within 10 min", DisplayName = "as many that ended well")]
    [DataRow("52w0b-well 53w0c-well 53w0d-well 54w0a-crashed 60w0a-crashed", 0, "", DisplayName = "more that ended well")]
    [DataRow("52w1b-well 53w1c-well 53w1d-well 54w0a-crashed 60w0a-crashed", 0, "5: 2 of the 2 attempts on it failed within 10 min", DisplayName = "what ended well elsewhere says nothing")]
    [DataRow("54w0a-crashed 57w1a-crashed 60w0a-crashed", 0, "", DisplayName = "a job that crashes elsewhere too")]
    [DataRow("53w0a-crashed 54w1a-crashed 55w0b-crashed 60w0c-crashed", 0, "5: 2 of the 3 attempts on it failed within 10 min", DisplayName = "others beside it")]
    [DataRow("54w0a-lost 57w1a-crashed 60w0a-lost", 0, "5: 2 of the 2 attempts on it failed within 10 min", DisplayName = "an agent, a machine or a link is lost by no job")]
    [DataRow("54w0a-lost 57w1a-lost 60w0a-crashed", 0, "5: 2 of the 2 attempts on it failed within 10 min", DisplayName = "nor does its loss elsewhere explain a crash")]
    [DataRow("60w0a-lost", 1, "10: the last attempt on it failed within 10 min", DisplayName = "the first after a cordon")]
    [DataRow("60w0a-lost", 3, "40: the last attempt on it failed within 10 min")]
    [DataRow("60w0a-lost", 9, "60: the last attempt on it failed within 10 min", DisplayName = "an hour at most")]
    [DataRow("57w1a-crashed 60w0a-crashed", 2, "", DisplayName = "after a cordon too, a job's own crash is no worker's")]
    public void Failures_ThatFollowAWorker_CordonIt(string history, int earlier, string expected)
    {
        var cordon = CordonRules.Decide(Now, "w0", Parse(history), earlier, Options());

        Assert.AreEqual(expected, cordon is null ? "" : $"{(cordon.Until - Now)!.Value.TotalMinutes}: {cordon.Reason}");
    }

    [TestMethod]
    [DataRow(0, false)]
    [DataRow(2, true)]
    [DataRow(3, false)]
    public void Failures_AreAsManyAsTheOperatorSays(int failures, bool expected) =>
        Assert.AreEqual(expected, CordonRules.Decide(Now, "w0", Parse("59w0a-lost 60w0b-lost"), 0, Options(failures)) is not null);

    [TestMethod]
    [DataRow("54w0a-crashed 55w0a-crashed", "57w1a-crashed", true, DisplayName = "its job crashes elsewhere")]
    [DataRow("54w0a-crashed 55w0b-crashed", "57w1a-crashed", false, DisplayName = "one of two jobs does")]
    [DataRow("54w0a-crashed 55w0a-crashed", "57w1b-crashed", false, DisplayName = "another job does")]
    [DataRow("54w0a-crashed 55w0a-crashed", "57w1a-lost", false, DisplayName = "another worker is lost")]
    [DataRow("54w0a-crashed 55w0a-lost", "57w1a-crashed", false, DisplayName = "it was lost itself")]
    public void Cordon_WhoseGroundsWereTheJobs_IsExplained(string before, string after, bool expected)
    {
        var cordon = CordonRules.Decide(Now, "w0", Parse(before), 0, Options())!;

        Assert.AreEqual(expected, CordonRules.IsExplained("w0", cordon, Parse($"{before} {after}")));
    }

    [TestMethod]
    public void Book_AnAttemptThatEndsWell_BeginsAnew()
    {
        var book = new CordonBook(Options());
        Assert.IsEmpty(Note("50w0a-lost"));
        CollectionAssert.AreEqual(new[] { "w0" }, Note("51w0a-lost").ToArray());
        Assert.AreEqual(TimeSpan.FromMinutes(56), book.Find("w0")!.Until);

        Assert.IsEmpty(book.Expire(TimeSpan.FromMinutes(55.9)));
        CollectionAssert.AreEqual(new[] { "w0" }, book.Expire(TimeSpan.FromMinutes(56)).ToArray());
        CollectionAssert.AreEqual(new[] { "w0" }, Note("90w0b-lost").ToArray(), "The first failure after it.");
        Assert.AreEqual(TimeSpan.FromMinutes(100), book.Find("w0")!.Until);
        book.Expire(TimeSpan.FromMinutes(100));
        Assert.IsEmpty(Note("120w0b-well"));
        Assert.IsEmpty(Note("150w0b-lost"));
        Assert.IsNull(book.Find("w0"));

        IReadOnlyList<string> Note(string outcome) => book.Note(Parse(outcome).Single());
    }

    [TestMethod]
    public void Book_AnOperatorsCordon_StaysUntilItIsRemovedWithWhatWasBefore()
    {
        var book = new CordonBook(Options());
        book.Note(Parse("50w0a-lost").Single());
        book.Put("w0", "its fan is noisy");

        Assert.IsEmpty(book.Note(Parse("51w0a-lost").Single()));
        Assert.IsEmpty(book.Expire(TimeSpan.FromDays(1000)));
        Assert.AreEqual("its fan is noisy", book.Find("w0")!.Reason);
        Assert.IsTrue(book.HasAnyByHand);
        Assert.IsTrue(book.Remove("w0"));
        Assert.IsFalse(book.Remove("w0"));
        Assert.IsEmpty(book.Note(Parse("52w0a-lost").Single()), "The two before count no more.");
    }

    [TestMethod]
    public void Book_OfOneAppsCluster_CordonsNobodyByItself()
    {
        var book = new CordonBook(new CoordinatorOptions { DataFolder = "/nowhere", SocketPath = "/nowhere/c.sock" });

        Assert.IsEmpty(Parse("50w0a-lost 51w0a-lost 52w0a-lost").SelectMany(book.Note));
    }

    private static CoordinatorOptions Options(int failures = 2) => new() { DataFolder = "/nowhere", Urls = ["https://nowhere:1"], CordonFailures = failures };

    // "60w0a-crashed": at minute 60, on worker w0, of job a.
    private static List<AttemptOutcome> Parse(string history) => [.. history.Split(' ').Select(text =>
    {
        var (at, kind) = (text.IndexOf('w', StringComparison.Ordinal), text.Split('-')[1]);
        return new AttemptOutcome(TimeSpan.FromMinutes(int.Parse(text[..at], CultureInfo.InvariantCulture)), text[at..(at + 2)], OpaqueId.Parse(text[(at + 2)..(at + 3)]), Enum.Parse<OutcomeKind>(kind, ignoreCase: true));
    })];
}
