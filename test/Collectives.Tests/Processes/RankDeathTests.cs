namespace Collectives.Tests.Processes;

/// <summary>Ranks that are killed (SIGKILL), wherever they are: the others end with the dead rank's number, soon, and nothing is left.</summary>
[TestClass]
public sealed class RankDeathTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(1.5);

    private const string DeadRank = "CollectiveTimeoutException";

    [TestMethod]
    public async Task Kill_BeforeJoining_TheOthersTimeOut()
    {
        using var gang = new RankGang(3, Limit);
        gang.Join(0);
        gang.Join(2);
        await gang[1].KillAsync();
        await ShouldFailAsync(gang, "for rank 1, expected all 3 ranks", 0, 2);
        Assert.IsFalse(File.Exists(gang.Path), "The segment was left behind.");
    }

    [TestMethod]
    public async Task Kill_BetweenOperations_TheOthersTimeOut()
    {
        using var gang = new RankGang(3, Limit);
        await gang.JoinAllAsync();
        await gang[1].KillAsync();
        gang[0].Send("step 1");
        gang[2].Send("step 1");
        await ShouldFailAsync(gang, "for rank 1, expected all 3 ranks", 0, 2);
    }

    [TestMethod, DataRow(0), DataRow(1), DataRow(2), DataRow(3), DataRow(4)]
    public async Task Kill_WhileItWaitsInAnOperation_TheOthersTimeOutWhereItDoesNotCome(int operation)
    {
        using var gang = new RankGang(3, Limit);
        await gang.JoinAllAsync();
        gang[1].Send($"step {operation}");
        await gang.ArrivedAsync(1, barrier: 2);
        await gang[1].KillAsync();
        // Its arrival counts: the others pass that barrier, and a barrier alone ends so.
        gang[0].Send($"step {operation}");
        gang[2].Send($"step {operation}");
        if (operation == 0)
        {
            await gang[0].ShouldAnswerAsync("ok");
            await gang[2].ShouldAnswerAsync("ok");
            gang[0].Send("step 0");
            gang[2].Send("step 0");
        }

        await ShouldFailAsync(gang, "for rank 1, expected all 3 ranks", 0, 2);
    }

    [TestMethod]
    public async Task Kill_RankZeroInTheRendezvous_AnotherRunIsToldOfTheStaleSegment()
    {
        using var crashed = new RankGang(2, Limit);
        crashed.Join(0);
        await crashed.ArrivedAsync(0, barrier: 1);
        await crashed[0].KillAsync();
        Assert.IsTrue(File.Exists(crashed.Path));

        using var next = new RankGang(2, Limit);
        crashed[1].Send($"join {crashed.Path} another 1 2 1000");
        await crashed[1].ShouldAnswerAsync($"CollectiveException Segment \"{crashed.Path}\" is another run's, expected that of \"another\" (rank 1)");
        next[0].Send($"join {crashed.Path} another 0 2 1000");
        await next[0].ShouldAnswerAsync($"CollectiveException Segment \"{crashed.Path}\" exists already, expected rank 0 to make it");
        await next.JoinAllAsync();
    }

    [TestMethod]
    public async Task Kill_InTheRendezvous_TheOthersTimeOutInTheFirstOperation()
    {
        using var gang = new RankGang(3, Limit);
        gang.Join(0);
        gang.Join(1);
        await gang.ArrivedAsync(1, barrier: 1);
        await gang[1].KillAsync();
        gang.Join(2);
        await gang[0].ShouldAnswerAsync("ok");
        await gang[2].ShouldAnswerAsync("ok");
        gang[0].Send("loop");
        gang[2].Send("loop");
        await ShouldFailAsync(gang, "for rank 1, expected all 3 ranks", 0, 2);
    }

    [TestMethod, TestCategory("Slow"), DataRow(0), DataRow(1), DataRow(2)]
    public async Task Kill_AtAnyMoment_TheOthersTimeOut(int dead)
    {
        for (var trial = 0; trial < 3; trial++)
        {
            using var gang = new RankGang(3, Limit);
            await gang.JoinAllAsync();
            for (var rank = 0; rank < 3; rank++)
                gang[rank].Send("loop");
            await gang[dead].KillAsync();
            await ShouldFailAsync(gang, $"for rank {dead}, expected all 3 ranks", [.. Enumerable.Range(0, 3).Where(r => r != dead)]);
        }
    }

    [TestMethod]
    public async Task Abort_InAnotherProcess_WakesEveryWaiterWithin100Milliseconds()
    {
        using var gang = new RankGang(3, Ranks.Bound);
        var latencies = new List<TimeSpan>();
        for (var round = 0; round < 9; round++)
        {
            await gang.JoinAllAsync();
            gang[0].Send("step 1");
            gang[2].Send("step 1");
            await gang.ArrivedAsync(0, barrier: 2);
            await gang.ArrivedAsync(2, barrier: 2);
            gang[1].Send("abort");
            var aborted = (await gang[1].AnswerAsync()).Time;
            foreach (var rank in new[] { 0, 2 })
            {
                var (text, woken) = await gang[rank].AnswerAsync();
                Assert.StartsWith($"CollectiveAbortedException Rank {rank} was stopped because rank 1 aborted", text);
                latencies.Add(woken - aborted);
            }
        }

        // 2 ms as a rule, 4 beside three busy processes on two cores.
        Assert.IsLessThan(TimeSpan.FromMilliseconds(100), latencies.Max());
    }

    private static async Task ShouldFailAsync(RankGang gang, string because, params int[] ranks)
    {
        // The first to time out names the dead rank, and stops the rest.
        var answers = await Task.WhenAll(ranks.Select(r => gang[r].AnswerAsync()));
        Assert.Contains(a => a.Text.StartsWith(DeadRank, StringComparison.Ordinal) && a.Text.Contains(because, StringComparison.Ordinal), answers, string.Join(" / ", answers.Select(a => a.Text)));
        foreach (var (text, _) in answers)
            Assert.IsTrue(text.StartsWith(DeadRank, StringComparison.Ordinal) || text.StartsWith("CollectiveAbortedException", StringComparison.Ordinal), text);
    }
}
