using Microsoft.ML.Distributed;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>One Fit over three and four hosts, and over a network that is slow and far.</summary>
[TestClass, DoNotParallelize]
public sealed class ManyHostsTests
{
    private const int Count = 4;

    private static SeveralHosts? s_hosts;
    private static SpreadRunEnd? s_alone;

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        s_hosts = await SeveralHosts.StartManyAsync(Count);
        s_alone = await new SpreadRun(s_hosts, RankPlacement.OneWorker, ranks: 1, most: 1).FitAsync();
    }

    // What ran where a test before disturbed it has ended, and all slots are free again.
    [TestInitialize]
    public Task Ready() => s_hosts!.ReadyAsync();

    [ClassCleanup]
    public static async Task Stop()
    {
        if (s_hosts is not null)
            await s_hosts.DisposeAsync();
    }

    [TestMethod, DataRow(3), DataRow(4)]
    public async Task Fit_OverManyHosts_HasTheLossesOfOneRank(int count)
    {
        var spread = await new SpreadRun(s_hosts!, RankPlacement.Spread, ranks: count, most: count).FitAsync();

        spread.ShouldBe(s_alone!, attempts: 1, ranks: count);
        StringAssert.EndsWith(spread.Job.Reason, $"on {count} ranks of {count} workers");
    }

    [TestMethod]
    public async Task Fit_BitExactOverManyHosts_IsTheModelOfOneRank()
    {
        var alone = await new SpreadRun(s_hosts!, RankPlacement.OneWorker, ranks: 1, most: 1, Reproducibility.BitExact, epochs: 4).FitAsync();
        var spread = await new SpreadRun(s_hosts!, RankPlacement.Spread, ranks: 3, most: 3, Reproducibility.BitExact, epochs: 4).FitAsync();

        StringAssert.EndsWith(spread.Job.Reason, "on 3 ranks of 3 workers");
        Assert.AreEqual(alone.Job.Result.Artifacts[ArtifactName.Onnx].Id, spread.Job.Result.Artifacts[ArtifactName.Onnx].Id, "The files' SHA-256.");
    }

    // A step's gradients of 20 KB take longer than all else in it.
    [TestMethod]
    public Task Fit_OverASlowNetwork_HasTheLossesOfOneRank() => HasTheLossesOfOneRankAsync(hosts => hosts.SetRate("10mbit"));

    [TestMethod]
    public Task Fit_OverANetworkWithDelay_HasTheLossesOfOneRank() => HasTheLossesOfOneRankAsync(hosts =>
    {
        const int delay = 2;
        hosts.SetDelay(delay);
        for (var host = 1; host < Count; host++)
            Assert.IsGreaterThanOrEqualTo(2.0 * delay, hosts.RoundTrip(0, host));
    });

    // Rank 0 is lost: all others say so, though it would be the one that stays.
    [TestMethod]
    public Task Loss_OfOneOfFourHosts_CountsAgainstItAndTheOthersGoOn() => CutOffFirstAsync(of: Count, async (run, fit, hosts) =>
    {
        await run.RecoversWithinAsync(SeveralHosts.EndOfSilence, $"have heard nothing of worker \"h{hosts[0]}\" ({NetworkHosts.Address(hosts[0])}:7");
        await run.TrainsAsync(attempt: 2);
        CollectionAssert.AreEquivalent(hosts[1..], await run.HostsAsync());
        (await fit).ShouldBe(s_alone!, attempts: 2, ranks: Count - 1);
    });

    // It is in the next attempt too, as it has rank 0.
    [TestMethod]
    public Task Loss_OfOneOfTwoHosts_IsDecidedByTheNextAttemptWithAnother() => CutOffFirstAsync(of: 2, async (run, fit, hosts) =>
    {
        var lost = hosts[0];
        await run.RecoversWithinAsync(SeveralHosts.EndOfSilence, $"or \"h{lost}\": it counts for nobody until a gang with others decides it.");
        (await fit).ShouldBe(s_alone!, attempts: 3, ranks: 2);
        Assert.IsTrue(run.Messages.Any(m => m.EndsWith($"For 1 min worker \"h{lost}\" gets no job over several workers.", StringComparison.Ordinal)), string.Join('\n', run.Messages));
        var workers = (await s_hosts!.Jobs.GetClusterAsync(new GetClusterRequest())).Workers;
        Assert.AreEqual($"h{lost}", workers.Single(w => w.Network.Fault.Length > 0).Host);
    });

    // The network loses the host with rank 0 while a job trains.
    private static async Task CutOffFirstAsync(int of, Func<SpreadRun, Task<SpreadRunEnd>, int[], Task> check)
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Spread, ranks: 2, most: of);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var hosts = await run.HostsAsync();
        s_hosts!.SetApart(hosts[0], isApart: true);
        try
        {
            await check(run, fit, hosts);
        }
        finally
        {
            s_hosts.SetApart(hosts[0], isApart: false);
            await s_hosts.RunAsync("workers", "uncordon", await s_hosts.IdOfAsync(hosts[0]));
        }
    }

    private static async Task HasTheLossesOfOneRankAsync(Action<SeveralHosts> slow)
    {
        try
        {
            slow(s_hosts!);
            (await new SpreadRun(s_hosts!, RankPlacement.Spread, ranks: 3, most: 3).FitAsync()).ShouldBe(s_alone!, attempts: 1, ranks: 3);
        }
        finally
        {
            s_hosts!.SetRate(null);
        }
    }
}
