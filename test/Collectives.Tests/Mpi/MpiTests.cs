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
            typeof(CollectiveContract).GetMethod(name)!.Invoke(new MpiTests(), [.. arguments]);
            return $"failed {nameof(InvalidOperationException)} {Encode($"{name} ran nothing on {collective.WorldSize} ranks.")}";
        }
        catch (TargetInvocationException e) when (e.InnerException is RankEndedException ended)
        {
            return ended.InnerException is { } thrown ? $"failed {thrown.GetType().Name} {Encode(thrown is CollectiveException ? thrown.Message : thrown.ToString())}" : "passed";
        }
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

    private async Task<Exception?[]> RunProcesses(int worldSize)
    {
        if (!s_gangs.Remove(worldSize, out var gang))
        {
            gang = new MpiGang(s_hosts!, worldSize, Ranks.Bound, Ranks.Bound);
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
