using MLDistributed.Collectives;
using MLDistributed.Protocol;
using MLDistributed.Training.Loop;

namespace Training.Tests.Loop;

[TestClass]
public sealed class FailuresTests
{
    [TestMethod]
    public void From_TheNetworkBetweenHosts_IsABystandersAndTheHostsOwnIsNot()
    {
        var between = Failures.From(new CollectiveNetworkException("The cable is cut."), 2);
        var own = Failures.From(new HostNetworkException("No port is free."), 2);

        Assert.AreEqual((FailureKind.Crashed, true), (between.Failure.Kind, between.IsBystander));
        // Followed by another attempt, and counted against this worker.
        Assert.AreEqual((FailureKind.Crashed, false, "No port is free."), (own.Failure.Kind, own.IsBystander, own.Failure.Message));
    }
}
