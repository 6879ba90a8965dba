using Microsoft.ML.Distributed;

namespace Cluster.Tests;

/// <summary>One Fit over devices of two hosts that only a network joins: with the CPU for the devices and stand-ins of NCCL and CUDA's runtime, and all else real.</summary>
[TestClass, DoNotParallelize]
public sealed class SeveralHostsDeviceTests
{
    // The heartbeat that workers are given here and 3 s, twice for a busy machine. A step's sums have 60 s.
    private static readonly TimeSpan EndOfAttempt = 2 * TimeSpan.FromSeconds(2 + 3);

    private static string? s_library;

    [ClassInitialize]
    public static void Start(TestContext _)
    {
        if (NetworkHosts.Unavailable() is { } reason)
            Assert.Inconclusive(reason);
        s_library = NcclStandIn.Require();
    }

    [TestMethod]
    public async Task Fit_OverDevicesOfTwoHosts_OneOfWhichIsKilled_HasTheLossesOfOneRank()
    {
        await using var hosts = await SeveralHosts.StartAsync(_ => Devices(s_library!));
        var alone = await new SpreadRun(hosts, RankPlacement.OneWorker, ranks: 1, most: 1).FitAsync();
        var run = new SpreadRun(hosts, RankPlacement.Pack, ranks: 4, most: 4);
        var fit = run.FitAsync();
        await run.TrainsAsync(attempt: 1);
        var order = await run.HostsAsync();
        // What the stand-in's ranks meet in: all four of them.
        foreach (var rank in order.SelectMany(hosts.RanksOf))
            StringAssert.Contains(await File.ReadAllTextAsync($"/proc/{rank}/maps"), "/dev/shm/mldist-nccl-");

        hosts.KillRank(order[1], slot: 1);
        await run.RecoversWithinAsync(EndOfAttempt, $"Rank 3 on \"h{order[1]}\" was killed by signal 9 (SIGKILL)");

        (await fit).ShouldBe(alone, attempts: 2, ranks: 4);
        Assert.IsEmpty(Directory.GetFiles("/dev/shm", "mldist-nccl-*"));
    }

    [TestMethod]
    public async Task Fit_OverTwoHosts_OneOfWhichHasNoNccl_IsRefusedWithBoth()
    {
        await using var hosts = await SeveralHosts.StartAsync(host => Devices(host == 0 ? s_library! : "none"));

        var refusal = await Assert.ThrowsAsync<TrainingFailedException>(() => new SpreadRun(hosts, RankPlacement.Pack, ranks: 4, most: 4).FitAsync());

        StringAssert.Contains(refusal.Message, "Host \"h0\" has NCCL 2.21.5, host \"h1\" has no NCCL (MLDIST_NCCL is \"none\"), expected the same NCCL on all hosts of a job on GPUs");
    }

    // MLDIST_NCCL is the users' own, the other for tests.
    private static Dictionary<string, string> Devices(string nccl) => new() { ["MLDIST_TEST_LIBCUDART"] = s_library!, ["MLDIST_NCCL"] = nccl };
}
