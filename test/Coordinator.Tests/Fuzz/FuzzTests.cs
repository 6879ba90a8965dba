using System.Collections.Concurrent;
using System.Globalization;
using MLDistributed.Coordinator.Calls;

namespace MLDistributed.Coordinator.Tests.Fuzz;

/// <summary>
/// Every method of a coordinator in a process of its own, called with anything by everybody. Longer, or with another seed, by
/// MLDIST_FUZZ_SECONDS and MLDIST_FUZZ_SEED.
/// </summary>
[TestClass]
public sealed class FuzzTests
{
    private const int Callers = 8;
    private const double MaxGrowth = 1.10;

    // By then most code is compiled for good, which takes memory too: of the time alone a busy machine has too little.
    private const int WarmingCalls = 4000;
    private static readonly TimeSpan CallLimit = TimeSpan.FromMilliseconds(300);

    public TestContext TestContext { get; set; } = null!;

    private static TimeSpan Duration => TimeSpan.FromSeconds(Variable("MLDIST_FUZZ_SECONDS", 30));

    private static int Seed => Variable("MLDIST_FUZZ_SEED", 20261127);

    [TestMethod]
    public async Task EveryMethod_CalledWithAnything_AnswersInWordsAndLeavesTheCoordinatorAsItWas()
    {
        using var coordinator = await CoordinatorProcess.StartAsync();
        await coordinator.RunAJobAsync();
        var answers = new ConcurrentDictionary<StatusCode, int>();
        await CallAsync(coordinator, Duration / 2, Seed, answers, WarmingCalls);
        var before = await SettledAsync(coordinator);

        await CallAsync(coordinator, Duration / 2, Seed + 1, answers);

        await coordinator.RunAJobAsync();
        var after = await SettledAsync(coordinator);
        TestContext.WriteLine($"{answers.Values.Sum()} calls: {string.Join(", ", answers.Select(a => $"{a.Value} {a.Key}"))}; {before >> 20} MB before, {after >> 20} MB after.");
        Assert.IsLessThan(before * MaxGrowth, after, $"{before >> 20} MB before, {after >> 20} MB after.");
        Assert.DoesNotContain(" fail: ", coordinator.Log);
        Assert.DoesNotContain("   at ", coordinator.Log);
        foreach (var code in new[] { StatusCode.OK, StatusCode.InvalidArgument, StatusCode.Unauthenticated, StatusCode.PermissionDenied })
            Assert.IsTrue(answers.ContainsKey(code), $"Nothing was answered by {code}: the calls do not get far.");

        // And what anybody may cost without a key: the trial's 80 calls.
        using var client = RawCall.Client(coordinator.Address);
        var unfinished = Enumerable.Range(0, 80).Select(_ => RawCall.Begin(client, "/mldist.v1.Jobs/SubmitJob", null, [.. RawCall.Prefix(62 << 20), .. new byte[2 << 20]])).ToList();
        await Task.WhenAll(unfinished.Select(c => c.Answer)).Within();
        Assert.IsLessThan(100L << 20, coordinator.WorkingSet - after);
        unfinished.ForEach(c => c.Dispose());
    }

    [TestMethod]
    public async Task Methods_OfTheEndpoints_AreAllBounded()
    {
        await using var coordinator = await TestCoordinator.StartAsync();

        var served = coordinator.Get<Microsoft.AspNetCore.Routing.EndpointDataSource>().Endpoints
            .Select(e => e.Metadata.OfType<Grpc.AspNetCore.Server.GrpcMethodMetadata>().SingleOrDefault()?.Method.FullName).OfType<string>().ToArray();

        Assert.IsGreaterThan(10, served.Length);
        foreach (var method in served)
            Assert.IsTrue(RpcMethods.All.ContainsKey(method), $"{method} is served, and RpcMethods do not know its messages.");
    }

    private static async Task CallAsync(CoordinatorProcess coordinator, TimeSpan duration, int seed, ConcurrentDictionary<StatusCode, int> answers, int least = 0)
    {
        using var end = new CancellationTokenSource(duration);
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(async () =>
        {
            using var client = RawCall.Client(coordinator.Address);
            var random = new Random(seed * 100 + caller);
            var messages = new RandomMessages(random, [new string('a', 64), coordinator.WorkerId, "job-1", "x", TestDatasets.Small.Id]);
            for (var i = 0; !end.IsCancellationRequested || answers.Values.Sum() < least; i++)
                await OneAsync(coordinator, client, random, messages, $"seed {seed}, caller {caller}, call {i}", answers);
        })));
    }

    private static async Task OneAsync(CoordinatorProcess coordinator, HttpClient client, Random random, RandomMessages messages, string name, ConcurrentDictionary<StatusCode, int> answers)
    {
        var (path, method) = RpcMethods.All.OrderBy(m => m.Key, StringComparer.Ordinal).ElementAt(random.Next(RpcMethods.All.Count));
        var (who, key) = coordinator.Keys.OrderBy(k => k.Key, StringComparer.Ordinal).ElementAt(random.Next(coordinator.Keys.Count));
        var body = messages.Body(method.InputType, method.IsClientStreaming);
        using var call = RawCall.Begin(client, path, key, body, ends: random.Next(5) != 0);
        try
        {
            var (code, detail) = await call.Answer.WaitAsync(CallLimit);
            answers.AddOrUpdate(code, 1, (_, count) => count + 1);
            Assert.IsFalse(code is StatusCode.Internal or StatusCode.Unknown, $"{name}: {path} by {who} with {Convert.ToHexString(body.AsSpan(0, Math.Min(200, body.Length)))} answered {code}: {detail}");
        }
        catch (TimeoutException)
        {
            // A watch, or a call that does not end: given up.
        }
    }

    // After what is given up has ended: the least of some looks, each after calls that have its garbage collected.
    private static async Task<long> SettledAsync(CoordinatorProcess coordinator)
    {
        using var connection = ClusterConnection.Open(coordinator.Address, coordinator.Keys["administrator"]);
        var jobs = new Protocol.Jobs.JobsClient(connection.Invoker);
        var least = long.MaxValue;
        for (var look = 0; look < 10; look++)
        {
            for (var i = 0; i < 300; i++)
                await jobs.GetClusterAsync(new GetClusterRequest()).Within();
            least = Math.Min(least, coordinator.WorkingSet);
        }

        return least;
    }

    private static int Variable(string name, int otherwise) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out var value) ? value : otherwise;
}
