using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Tests.Security;

[TestClass]
public sealed class AccessRulesTests
{
    [TestMethod]
    [DataRow("/mldist.v1.Jobs/GetCluster", Scopes.Read | Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Jobs/WatchJob", Scopes.Read | Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Jobs/SubmitJob", Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Jobs/CancelJob", Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Jobs/ResumeJob", Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Administration/CordonWorker", Scopes.Admin)]
    [DataRow("/mldist.v1.Administration/UncordonWorker", Scopes.Admin)]
    [DataRow("/mldist.v1.Datasets/FindDataset", Scopes.Read | Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Datasets/AdoptDataset", Scopes.Submit | Scopes.Admin)]
    [DataRow("/mldist.v1.Blobs/Download", Scopes.Read | Scopes.Submit | Scopes.Admin | Scopes.Worker)]
    [DataRow("/mldist.v1.Blobs/Upload", Scopes.Submit | Scopes.Admin | Scopes.Worker)]
    [DataRow("/mldist.v1.Workers/Connect", Scopes.Worker)]
    [DataRow("/mldist.v1.Workers/Join", Scopes.None)]
    [DataRow("/arrow.flight.protocol.FlightService/DoPut", Scopes.Submit | Scopes.Admin)]
    [DataRow("/metrics", Scopes.Metrics | Scopes.Admin)]
    [DataRow("/some.later.Service/Method", Scopes.Admin)]
    public void Method_Scopes_AreThese(string method, Scopes expected) => Assert.AreEqual(expected, AccessRules.Required(method));
}
