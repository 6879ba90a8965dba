using MLDistributed.Protocol;
using MLDistributed.Worker.Connections;

namespace Worker.Tests.Connections;

[TestClass]
public sealed class OutboxTests
{
    private readonly ManualTime _time = new();

    [TestMethod]
    public async Task Post_WhileDisconnected_DropsOldProgressButNoEnd()
    {
        var outbox = new Outbox(_time, maxDroppable: 2);
        outbox.Post(End("a"));
        foreach (var step in Enumerable.Range(1, 5))
            outbox.Post(Step(step));
        outbox.Post(End("b"));

        CollectionAssert.AreEqual(new[] { "end a", "step 4", "step 5", "end b" }, await SendAsync(outbox));
    }

    [TestMethod]
    public async Task Post_EpochsWithoutEndWhileDisconnected_KeepsTheLatest()
    {
        var outbox = new Outbox(_time, maxEpochs: 3);
        outbox.Post(End("a"));
        foreach (var epoch in Enumerable.Range(0, 100))
            outbox.Post(new WorkerMessage { AttemptEvent = new AttemptEvent { AttemptId = "a", Epoch = new EpochEnded { Epoch = epoch } } });

        var sent = new List<WorkerMessage>();
        using var stop = new CancellationTokenSource();
        var pumping = outbox.PumpAsync(m =>
        {
            sent.Add(m);
            return Task.CompletedTask;
        }, stop.Token);
        await outbox.Drained;
        await stop.CancelAsync();
        await Assert.ThrowsAsync<OperationCanceledException>(() => pumping);

        CollectionAssert.AreEqual(new[] { 97, 98, 99 }, sent.Skip(1).Select(m => m.AttemptEvent.Epoch.Epoch).ToArray());
    }

    [TestMethod]
    public async Task Rewind_SentShortlyBefore_SendsEndsAgainInOrder()
    {
        var outbox = new Outbox(_time);
        outbox.Post(End("a"));
        outbox.Post(Step(1));
        outbox.Post(End("b"));
        await SendAsync(outbox);
        outbox.Post(End("c"));
        CollectionAssert.AreEquivalent(new[] { "a", "b", "c" }, outbox.UnreportedEnds().ToList());
        outbox.Rewind();

        CollectionAssert.AreEqual(new[] { "end a", "end b", "end c" }, await SendAsync(outbox));
    }

    [TestMethod]
    public async Task Rewind_SentLongBefore_SendsNothing()
    {
        var outbox = new Outbox(_time);
        outbox.Post(End("a"));
        await SendAsync(outbox);
        _time.Elapsed = Outbox.SentMayBeLost + TimeSpan.FromSeconds(1);
        outbox.Rewind();

        Assert.IsEmpty(await SendAsync(outbox));
        Assert.IsEmpty(outbox.UnreportedEnds());
    }

    [TestMethod]
    public async Task Pump_SendFails_KeepsTheMessage()
    {
        var outbox = new Outbox(_time);
        outbox.Post(End("a"));
        await Assert.ThrowsExactlyAsync<IOException>(() => outbox.PumpAsync(_ => throw new IOException("gone"), CancellationToken.None));

        CollectionAssert.AreEqual(new[] { "end a" }, await SendAsync(outbox));
        Assert.IsTrue(outbox.Drained.IsCompleted);
    }

    // All that is in the box, in the order of sending.
    private static async Task<List<string>> SendAsync(Outbox outbox)
    {
        var sent = new List<string>();
        using var stop = new CancellationTokenSource();
        var pump = outbox.PumpAsync(
            message =>
            {
                sent.Add(message.AttemptEnded is { } ended ? $"end {ended.AttemptId}" : $"step {message.AttemptEvent.Progress.Step}");
                return Task.CompletedTask;
            },
            stop.Token);
        await outbox.Drained;
        await stop.CancelAsync();
        await pump.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return sent;
    }

    private static WorkerMessage End(string attempt) => new() { AttemptEnded = new AttemptEnded { AttemptId = attempt, Stopped = new Stopped() } };

    private static WorkerMessage Step(int step) => new() { AttemptEvent = new AttemptEvent { AttemptId = "a", Progress = new Progress { Step = step } } };

    private sealed class ManualTime : TimeProvider
    {
        public TimeSpan Elapsed { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Elapsed.Ticks;
    }
}
