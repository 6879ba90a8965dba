using MLDistributed.Coordinator.Retention;

namespace MLDistributed.Coordinator.Tests.Retention;

[TestClass]
public sealed class RetentionRulesTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.UnixEpoch.AddDays(100);
    private static readonly ContentHash s_file = Named("f");

    [TestMethod]
    [DataRow(29, null, true, DisplayName = "used lately")]
    [DataRow(31, null, false, DisplayName = "old, no job")]
    [DataRow(31, -1, true, DisplayName = "old, of a living job")]
    [DataRow(31, 29, true, DisplayName = "old, of a job that ended lately")]
    [DataRow(31, 31, false, DisplayName = "old, of a job that ended long ago")]
    public void File_OfAnAge_IsKeptOrNot(int usedDaysAgo, int? jobEndedDaysAgo, bool kept)
    {
        var file = new StoredFile(s_file, StoredKind.Blob, Now.AddDays(-usedDaysAgo));
        FileReference[] references = jobEndedDaysAgo switch
        {
            null => [],
            < 0 => [new FileReference(s_file, null)],
            var days => [new FileReference(s_file, Now.AddDays(-days.Value))],
        };

        var doomed = RetentionRules.Expired(Now, [file], references, TimeSpan.FromDays(30));

        Assert.AreEqual(kept, doomed.Count == 0);
    }

    [TestMethod]
    [DataRow(StoredKind.Dataset, 0, "ended", false, false, DisplayName = "a dataset whose job just ended")]
    [DataRow(StoredKind.Dataset, 0, "lives", false, true, DisplayName = "a dataset of a living job")]
    [DataRow(StoredKind.Dataset, 60, "none", true, true, DisplayName = "a dataset whose job is about to be submitted")]
    [DataRow(StoredKind.Dataset, 0, "none", false, false, DisplayName = "a dataset without a job")]
    [DataRow(StoredKind.Blob, 0, "result", false, true, DisplayName = "a model that is being fetched")]
    [DataRow(StoredKind.Blob, 3, "old result", false, false, DisplayName = "a model that was fetched")]
    [DataRow(StoredKind.Blob, 1, "old result", false, true, DisplayName = "a model that was sent again, to start from")]
    [DataRow(StoredKind.Blob, 1, "none", false, true, DisplayName = "a blob that no job names yet")]
    [DataRow(StoredKind.Blob, 3, "none", false, false, DisplayName = "a blob that no job names")]
    [DataRow(StoredKind.Incoming, 60, "none", false, true, DisplayName = "a file that is being written")]
    public void File_WithoutACache_IsKeptAsLongAsItIsNeeded(object kind, int usedMinutesAgo, string job, bool isClaimed, bool kept)
    {
        var file = new StoredFile(s_file, (StoredKind)kind, Now.AddMinutes(-usedMinutesAgo), 10) { IsClaimed = isClaimed };
        FileReference[] references = job switch
        {
            "lives" => [new FileReference(s_file, null)],
            "ended" => [new FileReference(s_file, Now)],
            "result" => [new FileReference(s_file, Now.AddMinutes(-1), IsResult: true)],
            "old result" => [new FileReference(s_file, Now.AddMinutes(-3), IsResult: true)],
            _ => [],
        };

        Assert.AreEqual(kept, RetentionRules.BeyondCache(Now, [file], references, cacheBytes: 0).Count == 0);
    }

    [TestMethod]
    [DataRow(30, "", DisplayName = "room for all")]
    [DataRow(20, "c", DisplayName = "the least recently used goes")]
    [DataRow(19, "b c", DisplayName = "room for one of ten")]
    [DataRow(0, "a b c", DisplayName = "no cache")]
    public void Cache_OfASize_KeepsTheMostRecentlyUsed(long bytes, string beyond)
    {
        StoredFile[] files = [.. new[] { "b", "c", "a" }.Select(id => new StoredFile(Named(id), StoredKind.Dataset, Now.AddMinutes('a' - id[0]), 10))];

        CollectionAssert.AreEqual(beyond.Split(' ', StringSplitOptions.RemoveEmptyEntries), RetentionRules.BeyondCache(Now, files, [], bytes).Select(f => f.Id!.Text[..1]).ToArray());
    }

    private static ContentHash Named(string digit) => ContentHash.Parse(new string(digit[0], 64));
}
