using MLDistributed.Coordinator.Membership;

namespace MLDistributed.Coordinator.Tests.Membership;

[TestClass]
public sealed class MembershipRulesTests
{
    [TestMethod]
    [DataRow(0.0, false, null)]
    [DataRow(5.0, false, null)]
    [DataRow(5.1, false, "worker \"h\" was silent for 5.1 s, expected a sign of life within 5 s")]
    [DataRow(5.1, true, null)]
    [DataRow(20.0, true, null)]
    [DataRow(20.1, true, "worker \"h\" did not reconnect within 20 s of the coordinator's restart")]
    public void Worker_Silent_IsLostAfterItsLimit(double silence, bool isRestored, string? reason)
    {
        var now = TimeSpan.FromDays(1);
        var member = new Member("w", "h", now - TimeSpan.FromSeconds(silence), isRestored);

        var lost = MembershipRules.Decide(now, [member], TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(20));

        Assert.AreEqual(reason, lost.SingleOrDefault()?.Reason);
    }
}
