using Microsoft.ML.Distributed;
using MLDistributed.Protocol;

namespace Cluster.Tests;

/// <summary>One Fit over two hosts that only a network joins, undisturbed and disturbed.</summary>
[TestClass, DoNotParallelize]
public sealed class SeveralHostsTests
{
    // The heartbeat that workers are given here and 3 s, twice for a busy machine. MPI's own limit, by which ranks would end
    // that nobody told, is 60 s.
    private static readonly TimeSpan EndOfAttempt = 2 * TimeSpan.FromSeconds(2 + 3);

    private static SeveralHosts? s_hosts;

    private static SpreadRunEnd? s_alone;

    [ClassInitialize]
    public static async Task Start(TestContext _)
    {
        if (NetworkHosts.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        s_hosts = await SeveralHosts.StartAsync();
        s_alone = await new SpreadRun(s_hosts!, RankPlacement.OneWorker, ranks: 1, most: 1).FitAsync();
    }

    // What ran where a test before disturbed it has ended, and all slots are free again.
    [TestInitialize]
    public async Task Ready() => await s_hosts!.ReadyAsync();

    [ClassCleanup]
    public static async Task Stop()
    {
        if (s_hosts is not null)
            await s_hosts.DisposeAsync();
    }

    [TestMethod]
    public async Task Fit_OverTwoHosts_HasTheLossesOfOne()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Spread, ranks: 4, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        foreach (var (host, first, last) in new[] { (0, 7300, 7399), (1, 7400, 7409) })
        {
            var ports = s_hosts!.ListeningPorts(host);
            Assert.IsTrue(ports.Length > 0 && ports.All(p => p >= first && p <= last), $"Host {host}: {string.Join(' ', ports)}");
        }

        var spread = await fit;
        spread.ShouldBe(s_alone!, attempts: 1, ranks: 4);
        StringAssert.Contains(await s_hosts!.RunAsync("workers", "--json"), $"\"address\": \"{NetworkHosts.Address(0)}\"");
        StringAssert.EndsWith(spread.Job.Reason, "on 4 ranks of 2 workers");
        Assert.IsTrue(spread.Messages.Any(m => m.Contains("running on 4 ranks: runs on \"h", StringComparison.Ordinal) && m.Contains("with 2 ranks and \"h", StringComparison.Ordinal)), string.Join('\n', spread.Messages));
    }

    [TestMethod]
    public async Task Fit_BitExactOverTwoHosts_IsTheModelOfOneRank()
    {
        var alone = await new SpreadRun(s_hosts!, RankPlacement.OneWorker, ranks: 1, most: 1, Reproducibility.BitExact, epochs: 4).FitAsync();
        var spread = await new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 3, most: 3, Reproducibility.BitExact, epochs: 4).FitAsync();

        StringAssert.EndsWith(spread.Job.Reason, "on 3 ranks of 2 workers");
        CollectionAssert.AreEqual(alone.Losses.OrderBy(l => l.Key).ToArray(), spread.Losses.OrderBy(l => l.Key).ToArray());
        Assert.AreEqual(alone.Job.Result.Artifacts[ArtifactName.Onnx].Id, spread.Job.Result.Artifacts[ArtifactName.Onnx].Id, "The files' SHA-256.");
    }

    [TestMethod]
    public async Task Kill_OfARankOnEachHost_EndsTheAttemptOnBothAndTheJobGoesOn()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 4, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var hosts = await run.HostsAsync();
        StringAssert.Contains(await s_hosts!.RunAsync("jobs", "show", run.JobId), $"0 to 1 on \"h{hosts[0]}\", 2 to 3 on \"h{hosts[1]}\"");

        s_hosts.KillRank(hosts[1], slot: 1);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 3 on \"h{hosts[1]}\" was killed by signal 9 (SIGKILL)");
        await run.TrainsAsync(attempt: 2);
        hosts = await run.HostsAsync();
        s_hosts.KillRank(hosts[0], slot: 0);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 0 on \"h{hosts[0]}\" was killed by signal 9 (SIGKILL)");

        var done = await fit;
        done.ShouldBe(s_alone!, attempts: 3, ranks: 4);
    }

    [TestMethod]
    public async Task Kill_OfAnAgent_EndsTheAttemptAndTheJobGoesOnOnWhatIsLeft()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 1, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);

        s_hosts!.KillWorker(1);
        await run.RecoversWithinAsync(EndOfAttempt, "worker \"h1\" was silent", StringComparison.OrdinalIgnoreCase);

        var done = await fit;
        await s_hosts.StartWorkerAsync(1);
        done.ShouldBe(s_alone!, attempts: 2, ranks: 2);
    }

    // No checkpoint comes before the end: the workers' memory alone has the state.
    [TestMethod]
    public async Task Kill_OfARankThenOfAnAgent_GoesOnFromTheWorkersMemoryToTheSameBits()
    {
        const int epochs = 500;
        var alone = await new SpreadRun(s_hosts!, RankPlacement.OneWorker, ranks: 2, most: 2, Reproducibility.BitExact, epochs).FitAsync();
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 2, most: 4, Reproducibility.BitExact, epochs, checkpointEpochs: epochs);
        var fit = run.FitAsync();
        await run.CommitsAsync(attempt: 1);
        var hosts = await run.HostsAsync();

        s_hosts!.KillRank(hosts[1], slot: 1);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 3 on \"h{hosts[1]}\" was killed by signal 9 (SIGKILL)");
        await run.CommitsAsync(attempt: 2);
        Assert.HasCount(2, await run.HostsAsync());
        Assert.IsGreaterThan(0L, run.GoneOnFrom.Single(), string.Join('\n', run.Messages));

        s_hosts.KillWorker(1);
        await run.RecoversWithinAsync(EndOfAttempt, "worker \"h1\" was silent", StringComparison.OrdinalIgnoreCase);
        var done = await fit;
        await s_hosts.StartWorkerAsync(1);
        Assert.IsTrue(run.GoneOnFrom is [var second, var third] && second < third, string.Join('\n', run.Messages));
        CollectionAssert.AreEqual(alone.Losses.OrderBy(l => l.Key).ToArray(), done.Losses.OrderBy(l => l.Key).ToArray(), "No step is missing.");
        Assert.AreEqual((3, 2, epochs), (done.Job.Attempt, done.Job.Result.WorldSize, done.Job.Result.Epochs));
        Assert.AreEqual(alone.Job.Result.Artifacts[ArtifactName.Onnx].Id, done.Job.Result.Artifacts[ArtifactName.Onnx].Id, "The files' SHA-256.");
    }

    // With the agents their memory is gone.
    [TestMethod]
    public async Task Kill_OfAllAgents_GoesOnFromTheStoresCheckpoint()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 4, most: 4, epochs: 500);
        var fit = run.FitAsync();
        await run.CommitsAsync(attempt: 1);
        await s_hosts!.StoresTwoAsync();

        foreach (var host in (int[])[0, 1])
            s_hosts.KillWorker(host);
        await run.RecoversWithinAsync(EndOfAttempt, "was silent");
        foreach (var host in (int[])[0, 1])
            await s_hosts.StartWorkerAsync(host);

        var done = await fit;
        Assert.AreEqual(2, done.Job.Attempt, string.Join('\n', run.Messages));
        Assert.IsGreaterThan(1L, run.FirstStep);
        Assert.IsFalse(run.Messages.Any(m => m.Contains("in memory", StringComparison.Ordinal)), string.Join('\n', run.Messages));
    }

    [TestMethod]
    public async Task Cut_OfALink_EndsTheAttemptAndTheJobGoesOnOnWhatIsLeft()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 1, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);

        s_hosts!.SetLink(1, isUp: false);
        try
        {
            await run.RecoversWithinAsync(EndOfAttempt, "worker \"h1\" was silent", StringComparison.OrdinalIgnoreCase);
            var done = await fit;
            done.ShouldBe(s_alone!, attempts: 2, ranks: 2);
        }
        finally
        {
            s_hosts.SetLink(1, isUp: true);
        }
    }

    [TestMethod]
    public async Task Loss_ByANetworkBetweenHosts_EndsTheAttemptAndTheJobGoesOnOnOne()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 1, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var hosts = await run.HostsAsync();

        s_hosts!.SetApart(hosts[1], isApart: true);
        try
        {
            await run.RecoversWithinAsync(SeveralHosts.EndOfSilence, $"Worker \"h{hosts[0]}\" has heard nothing of worker \"h{hosts[1]}\" ({NetworkHosts.Address(hosts[1])}:{Ports(hosts[1])}");
            await run.TrainsAsync(attempt: 2);
            Assert.HasCount(1, await run.HostsAsync());
            // Both have said so, which counts for neither, and the one with rank 0 stays.
            Assert.IsTrue(run.Messages.Any(m => m.Contains($", and \"h{hosts[1]}\" nothing of \"h{hosts[0]}\". Look at", StringComparison.Ordinal) && m.EndsWith($"For 1 min worker \"h{hosts[1]}\" gets no job over several workers, as it may be at fault, or \"h{hosts[0]}\": it counts for nobody until a gang with others decides it.", StringComparison.Ordinal)), string.Join('\n', run.Messages));
            StringAssert.Contains(await s_hosts.RunAsync("workers", "--json"), "and it did not hear one another there");
            (await fit).ShouldBe(s_alone!, attempts: 2, ranks: 2);
        }
        finally
        {
            s_hosts.SetApart(hosts[1], isApart: false);
            await s_hosts.RunAsync("workers", "uncordon", await s_hosts.IdOfAsync(hosts[1]));
        }
    }

    [TestMethod]
    public async Task Pause_OfTheLeaderOfAHost_EndsTheAttemptAndTheJobGoesOnOnBoth()
    {
        var run = new SpreadRun(s_hosts!, RankPlacement.Pack, ranks: 4, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var hosts = await run.HostsAsync();

        // The one with rank 0: no tie that goes against it.
        s_hosts!.PauseLeader(hosts[0]);
        await run.RecoversWithinAsync(SeveralHosts.EndOfSilence, $"Worker \"h{hosts[1]}\" has heard nothing of worker \"h{hosts[0]}\" ({NetworkHosts.Address(hosts[0])}:{Ports(hosts[0])}");

        (await fit).ShouldBe(s_alone!, attempts: 2, ranks: 4);
    }

    // As --network-ports has them.
    private static string Ports(int host) => host == 0 ? "73" : "74";
}
