using Google.Protobuf;
using Microsoft.Data.Sqlite;
using MLDistributed.Coordinator.Calls;
using MLDistributed.Coordinator.Security;

namespace MLDistributed.Coordinator.Tests.Calls;

/// <summary>What replies cost that nobody reads: who asks for them and goes to sleep takes his tenant's share, and no more.</summary>
[TestClass]
public sealed class UnreadReplyTests
{
    private static readonly string[] Loopback = ["http://127.0.0.1:0"];

    [TestMethod]
    public async Task Downloads_ThatNobodyReads_AreRefusedBeyondTheTenantsShareAndEnd()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        var blobs = new Protocol.Blobs.BlobsClient(coordinator.ConnectByKey(Key(coordinator, "a")).Invoker);
        var file = await Specs.UploadAsync(blobs, new byte[3 << 20]);
        var calls = Enumerable.Range(0, 400).Select(_ => blobs.Download(new DownloadRequest { Id = file.Id })).ToList();

        var refused = await FirstRefusalAsync(calls).Within();

        Assert.IsNotNull(Pushback.Of(refused), refused.Status.Detail);
        await new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(Key(coordinator, "b")).Invoker).GetClusterAsync(new GetClusterRequest()).Within();
        await Eventually.HoldsAsync(() =>
        {
            coordinator.Time.Advance(TimeSpan.FromSeconds(10));
            return coordinator.Get<MessageBudget>().Held == 0;
        });
        calls.ForEach(c => c.Dispose());
    }

    [TestMethod]
    public async Task LargeReplies_OfATenantWhoseShareIsTaken_AreNotMade()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        await Specs.AddDatasetAsync(coordinator);
        var many = Enumerable.Repeat(1f, 100_000).ToArray();
        var jobId = await Specs.SubmitAsync(coordinator, Specs.Valid(change: s => (s.Module.Mlp.InputSize, s.Data.Features) = (many.Length, new FeatureScaling { Mean = { many }, Scale = { many } })));
        var (taken, free) = (Key(coordinator, "a", Scopes.Admin), Key(coordinator, "b", Scopes.Admin));
        using var client = RawCall.Client(coordinator.Address);
        using var share = await coordinator.Get<MessageBudget>().TakeAsync("tenant a", 128 << 20, CancellationToken.None);
        (string, IMessage)[] asked = [("GetJob", new GetJobRequest { JobId = jobId }), ("ListJobs", new ListJobsRequest { Limit = 1000 })];

        var answers = asked.Select(a => Call(taken, a).Answer).ToList();
        var others = asked.Select(a => Call(free, a).Answer).ToList();

        Assert.IsTrue((await Task.WhenAll(others).Within()).All(a => a.Code == StatusCode.OK));
        await Eventually.HoldsAsync(() =>
        {
            coordinator.Time.Advance(TimeSpan.FromSeconds(10));
            return answers.All(a => a.IsCompleted);
        });
        Assert.IsTrue((await Task.WhenAll(answers)).All(a => a.Code == StatusCode.ResourceExhausted));

        RawCall Call(string key, (string Method, IMessage Request) asked)
        {
            var message = asked.Request.ToByteArray();
            return RawCall.Begin(client, $"/mldist.v1.Jobs/{asked.Method}", key, [.. RawCall.Prefix((uint)message.Length), .. message], ends: true);
        }
    }

    [TestMethod]
    public async Task Past_ThatNobodyReads_HoldsNoQueryOpen()
    {
        await using var coordinator = await TestCoordinator.StartAsync(Loopback);
        await Specs.AddDatasetAsync(coordinator);
        using var worker = await FakeWorker.ConnectAsync(coordinator);
        var jobId = await Specs.SubmitAsync(coordinator);
        var start = await worker.ExpectStartAsync();
        for (var i = 0; i < 1000; i++)
            await worker.LogAsync(start, new string('x', 1000));
        await worker.LogAsync(start, "all are told");
        using (var watch = new JobWatch(coordinator, jobId))
            await watch.UntilLogAsync("all are told");
        var jobs = new Protocol.Jobs.JobsClient(coordinator.ConnectByKey(Key(coordinator, "ops", Scopes.Admin)).Invoker);

        using var past = jobs.WatchJob(new WatchJobRequest { JobId = jobId, PastOnly = true });
        await past.ResponseStream.MoveNext(CancellationToken.None).Within();

        // An open one would keep the log from being cut: it would grow as long as the watcher sleeps.
        await using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = Path.Combine(coordinator.DataFolder, "coordinator.db"), Pooling = false, DefaultTimeout = 1 }.ToString());
        await connection.OpenAsync();
        await Eventually.HoldsAsync(() =>
        {
            using var command = connection.CreateCommand();
            command.CommandText = "PRAGMA wal_checkpoint(TRUNCATE)";
            return command.ExecuteScalar() is 0L;
        });
    }

    // Each is read a little and then left.
    private static async Task<RpcException> FirstRefusalAsync(IEnumerable<AsyncServerStreamingCall<Chunk>> calls)
    {
        await foreach (var first in Task.WhenEach(calls.Select(c => c.ResponseStream.MoveNext(CancellationToken.None))))
            if (first.Exception?.InnerException is RpcException refused)
                return refused;
        throw new AssertFailedException("None was refused.");
    }

    private static string Key(TestCoordinator coordinator, string tenant, Scopes scopes = Scopes.Submit) => CoordinatorAdministration.CreateKey(coordinator.DataFolder, tenant, tenant, scopes);
}
