using System.Net.Sockets;
using Google.Protobuf;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Tests.Calls;

/// <summary>What a call costs the coordinator before, and while, its message comes.</summary>
[TestClass]
public sealed class UnfinishedCallTests
{
    private const string Submit = "/mldist.v1.Jobs/SubmitJob";
    private const uint Large = 62 << 20;
    private static readonly string[] Loopback = ["http://127.0.0.1:0"];

    [TestMethod]
    [DataRow(Submit), DataRow("/mldist.v1.Workers/Connect"), DataRow("/arrow.flight.protocol.FlightService/DoPut"), DataRow("/mldist.v1.Blobs/Upload"), DataRow("/no.such.Service/Method")]
    public async Task Call_WithoutKey_IsAnsweredBeforeItsMessageIsThere(string path)
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var client = RawCall.Client(coordinator.Address);
        using var call = RawCall.Begin(client, path, null, RawCall.Prefix(Large));

        var (code, detail) = await call.Answer.Within();

        Assert.AreEqual(StatusCode.Unauthenticated, code);
        StringAssert.Contains(detail, "carries no API key");
    }

    [TestMethod]
    public async Task Join_WithoutKey_TakesNoLargeMessage()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var client = RawCall.Client(coordinator.Address);
        using var call = RawCall.Begin(client, "/mldist.v1.Workers/Join", null, RawCall.Prefix(Large));

        var (code, detail) = await call.Answer.Within();

        Assert.AreEqual(StatusCode.ResourceExhausted, code);
        Assert.AreEqual("A message of /mldist.v1.Workers/Join has 65,011,712 bytes, expected at most 65,536. Send less.", detail);
    }

    [TestMethod]
    [DataRow(false), DataRow(true)]
    public async Task Message_ThatDoesNotCome_EndsItsCall(bool begins)
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var client = RawCall.Client(coordinator.Address);
        using var call = RawCall.Begin(client, Submit, Key(coordinator, "a"), begins ? RawCall.Prefix(1000) : []);

        await Eventually.AdvanceUntilAsync(coordinator, TimeSpan.FromSeconds(1), async () =>
        {
            await coordinator.Jobs.GetClusterAsync(new GetClusterRequest()).Within();
            return call.Answer.IsCompleted;
        }, ended => ended);

        Assert.AreEqual(StatusCode.DeadlineExceeded, (await call.Answer).Code);
    }

    [TestMethod]
    [DataRow(new byte[] { 0, 0, 0, 0, 9, 1 }, "ended within a message"), DataRow(new byte[] { 0, 0 }, "ended within a message"), DataRow(new byte[0], "has no message")]
    [DataRow(new byte[] { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }, "goes on after its message"), DataRow(new byte[] { 0, 0, 0, 0, 2, 0x0A, 0x7F }, "cannot be read")]
    public async Task Call_WhoseBytesAreNoMessage_IsInvalid(byte[] bytes, string expected)
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var client = RawCall.Client(coordinator.Address);
        using var call = RawCall.Begin(client, Submit, Key(coordinator, "a"), bytes, ends: true);

        var (code, detail) = await call.Answer.Within();

        Assert.AreEqual(StatusCode.InvalidArgument, code, detail);
        StringAssert.Contains(detail, expected);
    }

    [TestMethod]
    public async Task Tenant_WithManyUnfinishedMessages_IsRefusedAlone()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var (mine, others) = (Key(coordinator, "a"), Key(coordinator, "b"));
        using var client = RawCall.Client(coordinator.Address);
        var calls = Enumerable.Range(0, 67).Select(_ => RawCall.Begin(client, Submit, mine, RawCall.Prefix(Large))).ToList();
        try
        {
            // Two come, 64 wait, and one is too many.
            var (code, detail) = await (await Task.WhenAny(calls.Select(c => c.Answer)).Within());

            Assert.AreEqual(StatusCode.ResourceExhausted, code, detail);
            await JobsOf(mine).GetClusterAsync(new GetClusterRequest()).Within();
            var large = new SubmitJobRequest { Spec = Specs.Valid(change: s => s.ClassWeights.AddRange(Enumerable.Repeat(1f, 100_000))) };
            var error = await JobsOf(others).SubmitJobAsync(large).Fails(StatusCode.InvalidArgument);
            StringAssert.Contains(error.Status.Detail, "ClassWeights has 100000 numbers");
        }
        finally
        {
            calls.ForEach(c => c.Dispose());
        }

        Protocol.Jobs.JobsClient JobsOf(string key) => new(coordinator.ConnectByKey(key).Invoker);
    }

    // Which of them wait and which are refused is as they come.
    [TestMethod]
    public async Task Tenants_WithManyUnfinishedMessages_LeaveRoomForTheNext()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var most = coordinator.Get<CoordinatorOptions>().MaxUnfinishedBytes;
        using var client = RawCall.Client(coordinator.Address);
        var tenants = Enumerable.Range(0, 12).Select(i => Key(coordinator, $"t{i}")).ToList();
        var calls = tenants.SelectMany(key => Enumerable.Range(0, 2).Select(_ => RawCall.Begin(client, Submit, key, RawCall.Prefix(Large)))).ToList();
        try
        {
            await Task.WhenAll(calls.Select(c => c.Sent)).Within();
            await Eventually.HoldsAsync(() => coordinator.Get<MessageBudget>().Held > most / 2);
            var next = new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(Key(coordinator, "next")).Invoker);
            var large = new SubmitJobRequest { Spec = Specs.Valid(change: s => s.ClassWeights.AddRange(Enumerable.Repeat(1f, 250_000))) };
            await next.SubmitJobAsync(large).Fails(StatusCode.InvalidArgument);
            Assert.IsTrue(coordinator.Get<MessageBudget>().Held <= most);
        }
        finally
        {
            calls.ForEach(c => c.Dispose());
        }

        await Eventually.HoldsAsync(() => coordinator.Get<MessageBudget>().Held == 0);
    }

    [TestMethod]
    public async Task Message_WithoutRoomForLong_IsRefusedAndSaysWhenToComeAgain()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var budget = coordinator.Get<MessageBudget>();
        using var first = await budget.TakeAsync("a", 100 << 20, CancellationToken.None);
        var waiting = budget.TakeAsync("a", 60 << 20, CancellationToken.None).AsTask();

        coordinator.Time.Advance(TimeSpan.FromSeconds(31));

        Assert.AreEqual(TimeSpan.FromSeconds(2), Pushback.Of(await waiting.Fails(StatusCode.ResourceExhausted)));
        Assert.AreEqual(100L << 20, budget.Held);
    }

    [TestMethod]
    public async Task Connections_WithoutKey_AreClosedForNewerOnes()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var jobs = new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(Key(coordinator, "a")).Invoker);
        await jobs.GetClusterAsync(new GetClusterRequest()).Within();
        var sockets = new List<TcpClient>();
        try
        {
            for (var i = 0; i < 2001; i++)
            {
                sockets.Add(new TcpClient());
                await sockets[^1].ConnectAsync(coordinator.Address.Host, coordinator.Address.Port).Within();
            }

            // What it says first is the server's settings; then its end.
            var buffer = new byte[1000];
            int read;
            do
                try
                {
                    read = await sockets[0].GetStream().ReadAsync(buffer).AsTask().Within();
                }
                catch (IOException)
                {
                    read = 0;
                }
            while (read > 0);
            await jobs.GetClusterAsync(new GetClusterRequest()).Within();
            var another = new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(Key(coordinator, "b")).Invoker);
            await another.GetClusterAsync(new GetClusterRequest()).Within();
        }
        finally
        {
            sockets.ForEach(s => s.Dispose());
        }
    }

    [TestMethod]
    public async Task Message_OfTwoByteObjects_IsRefusedBeforeTheyAreMade()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        using var client = RawCall.Client(coordinator.Address);
        var spec = new JobSpec { Module = new ModuleSpec { Mlp = new MlpSpec { HiddenSizes = { Enumerable.Repeat(1, 1_000_000) } } } };
        var message = new SubmitJobRequest { Spec = spec }.ToByteArray();
        using var call = RawCall.Begin(client, Submit, Key(coordinator, "a"), [.. RawCall.Prefix((uint)message.Length), .. message], ends: true);

        var (code, detail) = await call.Answer.Within();

        Assert.AreEqual(StatusCode.InvalidArgument, code);
        Assert.AreEqual("MlpSpec.hidden_sizes has more than 1,000 values, expected at most that many. Send less, and use the same release on both sides.", detail);
    }

    private static string Key(TestCoordinator coordinator, string tenant) => CoordinatorAdministration.CreateKey(coordinator.DataFolder, tenant, tenant, Scopes.Submit);
}
