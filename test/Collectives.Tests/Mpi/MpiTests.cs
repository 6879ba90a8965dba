using System.Net.NetworkInformation;
using System.Reflection;
using System.Text;
using MLDistributed.Collectives;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests.Mpi;

/// <summary>
/// The contract over MPI: 2, 3 and 4 processes, each on a host of its own. A rank calls the test anew, and runs what
/// the test would have it run; here the test sees what it threw.
/// </summary>
[TestClass, DoNotParallelize]
public sealed class MpiTests : CollectiveContract
{
    private static readonly Dictionary<int, MpiGang> s_gangs = [];
    private static NetworkHosts? s_hosts;
    private static (ICollective Collective, string Board)? s_inside;

    public TestContext TestContext { get; set; } = null!;

    protected override IEnumerable<int> Worlds => Enumerable.Range(2, 3);

    protected override string BoardPath => s_inside?.Board ?? base.BoardPath;

    [ClassInitialize]
    public static void Initialize(TestContext context)
    {
        MpiGang.SkipWhereUnavailable();
        s_hosts = NetworkHosts.Create(4);
    }

    [ClassCleanup]
    public static void CleanUp()
    {
        foreach (var gang in s_gangs.Values)
            gang.Dispose();
        s_hosts?.Dispose();
    }

    /// <summary>What a rank does of a test.</summary>
    /// <returns>What it threw, for <see cref="Run"/> of the test.</returns>
    internal static string RunInside(ICollective collective, string name, string board, int[] arguments)
    {
        s_inside = (collective, board);
        try
        {
            typeof(MpiTests).GetMethod(name)!.Invoke(new MpiTests(), [.. arguments]);
            return $"failed {nameof(InvalidOperationException)} {Encode($"{name} ran nothing on {collective.WorldSize} ranks.")}";
        }
        catch (TargetInvocationException e) when (e.InnerException is RankEndedException ended)
        {
            return ended.InnerException is { } thrown ? $"failed {thrown.GetType().Name} {Encode(thrown is CollectiveException ? thrown.Message : thrown.ToString())}" : "passed";
        }
    }

    // Of one piece, of several, of a length that ranks do not share evenly; the first is short, and so not rounded.
    [TestMethod, DataRow(7), DataRow(1023), DataRow(4096), DataRow(50_001)]
    public void AllReduce_InBFloat16_IsCloseAndTheSameOnAllRanks(int length)
    {
        foreach (var world in Worlds)
        {
            Run(world, c =>
            {
                var terms = Enumerable.Range(0, world).Select(rank => Random(rank, length)).ToArray();
                var values = terms[c.Rank].ToArray();
                c.AllReduce(values, WireType.BFloat16);
                for (var i = 0; i < length; i++)
                {
                    // Half a unit of 8 bits for each term and for the sum.
                    var sum = terms.Sum(t => (double)t[i]);
                    Assert.AreEqual(sum, values[i], (terms.Sum(t => Math.Abs(t[i])) + Math.Abs(sum)) / 256 + 1e-6);
                }

                var first = values.ToArray();
                c.Broadcast(first, 0);
                CollectionAssert.AreEqual(first, values);
            }).ShouldSucceed();
        }
    }

    [TestMethod]
    public void AllReduce_InBFloat16_SendsHalfTheBytes()
    {
        Run(2, c =>
        {
            var values = Random(c.Rank, 1 << 20);
            c.Barrier();
            var start = SentBytes;
            c.AllReduce(values);
            c.Barrier();
            var whole = SentBytes - start;
            c.AllReduce(values, WireType.BFloat16);
            c.Barrier();
            var half = SentBytes - start - whole;
            // Of 4 MiB each sends the half that the other sums, and the sums of its own.
            Assert.IsGreaterThan(4L << 20, whole);
            Assert.AreEqual(0.5, (double)half / whole, 0.05);
        }).ShouldSucceed();
    }

    // MPI calls sent what it holds back while the network takes no more.
    [TestMethod]
    public void Broadcast_WhenTheRootIsBusyElsewhere_ReachesAll()
    {
        const int World = 3;
        using var board = new Board(BoardPath, World);
        s_hosts?.SetRate(0, "200mbit");
        try
        {
            Run(World, c =>
            {
                for (var i = 1; i <= 300; i++)
                {
                    c.Broadcast(new float[10_000 + 100 * (i % 100)], 0);
                    board[c.Rank] = i;
                    if (c.Rank == 0)
                        Assert.IsTrue(SpinWait.SpinUntil(() => board[1] >= i && board[2] >= i, Ranks.Bound / 2), $"Broadcast {i} has not come: rank 1 has {board[1]}, rank 2 {board[2]}.");
                }
            }).ShouldSucceed();
        }
        finally
        {
            s_hosts?.SetRate(0, null);
        }
    }

    [TestMethod]
    public void AllReduce_OfOtherWireTypes_FailsOnAllRanks()
    {
        var failures = Run(2, c => c.AllReduce(new float[4000], c.Rank == 0 ? WireType.BFloat16 : WireType.Float32));
        ShouldMismatch(failures);
        StringAssert.Contains(failures[0]!.Message, "AllReduce of 4000 BFloat16 values and rank 1 in AllReduce of 4000 Single values");
    }

    protected override Exception?[] Run(int worldSize, Action<ICollective> body)
    {
        if (s_inside is not { } inside)
            return RunProcesses(worldSize).GetAwaiter().GetResult();
        // A test that runs several worlds: this process is of one.
        if (inside.Collective.WorldSize != worldSize)
            return new Exception?[worldSize];
        try
        {
            body(inside.Collective);
        }
        catch (Exception e)
        {
            throw new RankEndedException(e);
        }

        throw new RankEndedException(null);
    }

    private static long SentBytes => NetworkInterface.GetAllNetworkInterfaces().Single(i => i.Name == NetworkHosts.Interface).GetIPStatistics().BytesSent;

    private static float[] Random(int rank, int length)
    {
        var random = new Random(rank);
        return [.. Enumerable.Range(0, length).Select(_ => random.NextSingle() * 2 - 1)];
    }

    private async Task<Exception?[]> RunProcesses(int worldSize)
    {
        if (!s_gangs.Remove(worldSize, out var gang))
        {
            gang = new MpiGang(s_hosts!, worldSize, Ranks.Bound / 2, Ranks.Bound / 2);
            await gang.JoinAllAsync();
        }

        gang.SendAll(string.Join(' ', ["test", TestContext.TestName, BoardPath, .. TestContext.TestData ?? []]));
        var answers = await gang.AnswersAsync([.. Enumerable.Range(0, worldSize)]);
        // A world that had a failure is of no more use.
        if (answers.All(a => a.Text == "passed"))
            s_gangs.Add(worldSize, gang);
        else
            gang.Dispose();
        return [.. answers.Select(a => Thrown(a.Text))];
    }

    private static Exception? Thrown(string answer)
    {
        if (answer == "passed")
            return null;
        var words = answer.Split(' ');
        var message = words.Length == 3 ? Encoding.UTF8.GetString(Convert.FromBase64String(words[2])) : answer;
        return words[1] switch
        {
            nameof(CollectiveAbortedException) => new CollectiveAbortedException(message),
            nameof(CollectiveMismatchException) => new CollectiveMismatchException(message),
            nameof(CollectiveTimeoutException) => new CollectiveTimeoutException(message),
            _ => new InvalidOperationException(message),
        };
    }

    private static string Encode(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private sealed class RankEndedException(Exception? thrown) : Exception(null, thrown);
}
