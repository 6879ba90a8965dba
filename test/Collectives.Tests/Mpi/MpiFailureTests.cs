using System.Diagnostics;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests.Mpi;

/// <summary>Ranks on hosts of their own that are killed, stopped or cut off: nobody waits longer than the limit, and nothing is left.</summary>
[TestClass, DoNotParallelize]
public sealed class MpiFailureTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan s_joinLimit = TimeSpan.FromSeconds(5);
    private static readonly int[] s_others = [0, 2];

    private static NetworkHosts? s_hosts;

    [ClassInitialize]
    public static void Initialize(TestContext context)
    {
        MpiGang.SkipWhereUnavailable();
        s_hosts = NetworkHosts.Create(3);
    }

    [ClassCleanup]
    public static void CleanUp() => s_hosts?.Dispose();

    [TestMethod, DataRow("step 0"), DataRow("step 1"), DataRow("loop")]
    public async Task Kill_ThatTheCoordinatorSees_StopsTheOthersAtOnce(string order)
    {
        using var gang = await JoinedAsync(tellsOfDeath: true);
        if (order == "loop")
            gang[1].Send(order);
        foreach (var rank in s_others)
            gang[rank].Send(order);
        await gang[1].KillAsync();
        await ShouldFailAsync(gang, "CollectiveAbortedException", "because rank 1 aborted", sooner: true);
    }

    [TestMethod, DataRow("step 1"), DataRow("loop")]
    public async Task Kill_ThatNobodySees_EndsByTheTimeLimit(string order)
    {
        using var gang = await JoinedAsync();
        if (order == "loop")
            gang[1].Send(order);
        foreach (var rank in s_others)
            gang[rank].Send(order);
        await gang[1].KillAsync();
        await ShouldFailAsync(gang, "CollectiveTimeoutException", "for rank 1, expected all 3 ranks");
    }

    [TestMethod]
    public async Task Stop_InTheMiddle_EndsByTheTimeLimit()
    {
        using var gang = await JoinedAsync();
        gang.SendAll("loop");
        gang.Stop(1);
        await ShouldFailAsync(gang, "CollectiveTimeoutException", "for rank 1, expected all 3 ranks");
    }

    [TestMethod]
    public async Task Cut_InTheMiddle_EndsByTheTimeLimitOnBothSides()
    {
        using var gang = await JoinedAsync();
        gang.SendAll("loop");
        s_hosts!.SetLink(1, isUp: false);
        try
        {
            // Each side misses the other: who sees it first stops the rest.
            var answers = await gang.AnswersAsync(0, 1, 2);
            Assert.Contains(a => a.Text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal), answers);
            foreach (var (text, _) in answers)
                Assert.IsTrue(text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal) || text.StartsWith("CollectiveAbortedException", StringComparison.Ordinal), text);
        }
        finally
        {
            s_hosts.SetLink(1, isUp: true);
        }
    }

    [TestMethod]
    public async Task Join_WithoutALink_IsRefusedWithTheInterface()
    {
        using var gang = new MpiGang(s_hosts!, 3, s_limit, s_joinLimit);
        s_hosts!.SetLink(1, isUp: false);
        try
        {
            for (var rank = 0; rank < 3; rank++)
                gang.Join(rank);
            await gang[1].ShouldAnswerAsync($"HostNetworkException Network interface \"{NetworkHosts.Interface}\" is ");
            await ShouldFailAsync(gang, "CollectiveAbortedException", "because rank 1 aborted");
        }
        finally
        {
            s_hosts.SetLink(1, isUp: true);
        }
    }

    [TestMethod]
    public async Task Join_RankThatNothingComesFrom_EndsByTheTimeLimit()
    {
        using var gang = new MpiGang(s_hosts!, 3, s_limit, s_joinLimit);
        s_hosts!.SetLost(1, isLost: true);
        try
        {
            for (var rank = 0; rank < 3; rank++)
                gang.Join(rank);
            var answers = await gang.AnswersAsync(0, 1, 2);
            Assert.Contains(a => a.Text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal), answers);
            foreach (var (text, _) in answers)
                Assert.IsTrue(text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal) || text.StartsWith("CollectiveAbortedException", StringComparison.Ordinal), text);
        }
        finally
        {
            s_hosts.SetLost(1, isLost: false);
        }
    }

    [TestMethod, DataRow(true), DataRow(false)]
    public async Task Join_RankThatDoesNotCome_EndsAndTheProcessLives(bool tellsOfDeath)
    {
        using var gang = new MpiGang(s_hosts!, 3, s_limit, s_joinLimit, tellsOfDeath);
        gang.Join(0);
        gang.Join(2);
        if (tellsOfDeath)
            gang.Join(1);
        await gang[1].KillAsync();
        foreach (var (text, _) in await gang.AnswersAsync(s_others))
            Assert.IsTrue(text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal) || text.StartsWith("CollectiveAbortedException", StringComparison.Ordinal), text);
        gang.Join(0);
        await gang[0].ShouldAnswerAsync("CollectiveException This process has been in an MPI world already");
    }

    [TestMethod]
    public async Task Abort_InAnotherProcess_WakesEveryWaiterWithin100Milliseconds()
    {
        using var gang = await JoinedAsync();
        foreach (var rank in s_others)
            gang[rank].Send("step 1");
        gang[1].Send("abort");
        var aborted = (await gang[1].AnswerAsync()).Time;
        foreach (var (text, woken) in await gang.AnswersAsync(s_others))
        {
            Assert.EndsWith("was stopped because rank 1 aborted.", text);
            Assert.IsLessThan(TimeSpan.FromMilliseconds(100), woken - aborted);
        }

        gang[0].Send("step 0");
        await gang[0].ShouldAnswerAsync("CollectiveAbortedException");
    }

    private static async Task<MpiGang> JoinedAsync(bool tellsOfDeath = false)
    {
        var gang = new MpiGang(s_hosts!, 3, s_limit, Ranks.Bound, tellsOfDeath);
        try
        {
            await gang.JoinAllAsync();
            return gang;
        }
        catch
        {
            gang.Dispose();
            throw;
        }
    }

    // One names the rank that is missing; it may stop the others before they see for themselves. MPI may notice that it ended before it is sent something.
    private static async Task ShouldFailAsync(MpiGang gang, string kind, string because, bool sooner = false)
    {
        var began = Stopwatch.GetElapsedTime(0);
        var answers = await gang.AnswersAsync(s_others);
        Assert.Contains(a => (a.Text.StartsWith(kind, StringComparison.Ordinal) && a.Text.Contains(because, StringComparison.Ordinal)) || IsUnreachable(a.Text), answers, string.Join(" / ", answers.Select(a => a.Text)));
        foreach (var (text, time) in answers)
        {
            Assert.IsTrue(text.StartsWith("CollectiveTimeoutException", StringComparison.Ordinal) || text.StartsWith("CollectiveAbortedException", StringComparison.Ordinal) || IsUnreachable(text), text);
            if (sooner)
                Assert.IsLessThan(s_limit / 2, time - began);
        }

        static bool IsUnreachable(string text) => text.StartsWith("CollectiveNetworkException", StringComparison.Ordinal) && text.Contains("does not reach rank 1 any more", StringComparison.Ordinal);
    }
}
