using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

[TestClass]
public sealed class ClusterStatusTests
{
    [TestMethod]
    public void Worker_KeptFromJobs_SaysWhy()
    {
        var status = ClusterStatus.From(new ClusterSnapshot
        {
            Workers =
            {
                new WorkerSnapshot { Host = "a", Status = "ready", Network = new Network { Interface = "eth0" } },
                new WorkerSnapshot { Host = "b", Status = "cordoned", Cordon = new WorkerCordon { Reason = "its fan is noisy" }, Network = new Network { Fault = "other workers did not hear it there" } },
                new WorkerSnapshot { Host = "c", Status = "ready" },
            },
        });

        Assert.AreEqual(
            "a ready / b cordoned its fan is noisy other workers did not hear it there / c ready",
            string.Join(" / ", status.Workers.Select(w => $"{w.Host} {w.Status} {w.CordonReason} {w.NetworkFault}".TrimEnd())));
    }
}
