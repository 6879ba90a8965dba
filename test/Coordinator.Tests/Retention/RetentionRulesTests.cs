using MLDistributed.Coordinator.Retention;

namespace MLDistributed.Coordinator.Tests.Retention;

[TestClass]
public sealed class RetentionRulesTests
{
    private static readonly DateTimeOffset Now = DateTimeOffset.UnixEpoch.AddDays(100);

    [TestMethod]
    [DataRow(29, null, true, DisplayName = "used lately")]
    [DataRow(31, null, false, DisplayName = "old, no job")]
    [DataRow(31, -1, true, DisplayName = "old, of a living job")]
    [DataRow(31, 29, true, DisplayName = "old, of a job that ended lately")]
    [DataRow(31, 31, false, DisplayName = "old, of a job that ended long ago")]
    public void File_OfAnAge_IsKeptOrNot(int usedDaysAgo, int? jobEndedDaysAgo, bool kept)
    {
        var file = new StoredFile("f", StoredKind.Blob, Now.AddDays(-usedDaysAgo));
        FileReference[] references = jobEndedDaysAgo switch
        {
            null => [],
            < 0 => [new FileReference("f", null)],
            var days => [new FileReference("f", Now.AddDays(-days.Value))],
        };

        var doomed = RetentionRules.Decide(Now, [file], references, TimeSpan.FromDays(30));

        Assert.AreEqual(kept, doomed.Count == 0);
    }
}
