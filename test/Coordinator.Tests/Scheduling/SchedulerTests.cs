using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Scheduling;

[TestClass]
public sealed class SchedulerTests
{
    private static readonly TimeSpan Now = TimeSpan.FromHours(1);

    [TestMethod]
    // ranks min, max | free of total on each worker | worker and world size, or why it waits
    [DataRow(1, 0, "4/4", "w0:4", DisplayName = "max 0 takes all free slots")]
    [DataRow(1, 2, "4/4", "w0:2", DisplayName = "max 2 takes two")]
    [DataRow(1, 0, "3/8 2/2", "w1:2", DisplayName = "max 0 prefers an idle worker to the larger rest of a busy one")]
    [DataRow(3, 0, "3/8 2/2", "w0:3", DisplayName = "but takes a busy one where no idle one has enough")]
    [DataRow(1, 0, "2/2 4/4", "w1:4", DisplayName = "max 0 takes the worker with the most")]
    [DataRow(1, 2, "8/8 2/2", "w1:2", DisplayName = "a small job leaves the large worker whole")]
    [DataRow(1, 4, "2/2 3/3", "w1:3", DisplayName = "as near to max as can be")]
    [DataRow(4, 4, "2/2 3/4", "waits for 4 ranks on one worker; 3 are free on \"host1\"")]
    [DataRow(1, 0, "0/2", "waits for 1 rank on one worker; 0 are free on \"host0\"")]
    [DataRow(8, 0, "2/2 1/1", "needs 8 ranks on one worker; the largest worker has 2")]
    [DataRow(1, 0, "", "waits for a worker; none is connected")]
    public void OneJob_IsPlacedOrWaitsWithAReason(int min, int max, string workers, string expected)
    {
        var decision = Decide([Job("job", 1, min, max)], workers).Single();

        Assert.AreEqual(expected, Outcome(decision));
    }

    [TestMethod]
    public void Slots_ThatCannotBeUsed_AreSkippedAndTheirFaultIsTheReason()
    {
        var half = new WorkerCapacity("w0", "box", [new(0, DeviceKind.Cpu, true, "its rank process ended: no libtorch"), new(1, DeviceKind.Cpu, true)]);
        var broken = new WorkerCapacity("w0", "box", [.. half.Slots.Select(s => s with { Fault = "its rank process ended: no libtorch" })]);

        CollectionAssert.AreEqual(new[] { 1 }, Scheduler.Decide(Now, [Job("job", 1, 1, 0)], [half]).Single().Shares.Single().Slots.ToArray());
        Assert.AreEqual(
            "needs 2 ranks on one worker; the largest worker has 1; 1 slot of \"box\" cannot be used: its rank process ended: no libtorch",
            Scheduler.Decide(Now, [Job("job", 1, 2, 0)], [half]).Single().Reason);
        Assert.AreEqual(
            "needs 1 rank on one worker; the largest worker has 0; 2 slots of \"box\" cannot be used: its rank process ended: no libtorch",
            Scheduler.Decide(Now, [Job("job", 1, 1, 0)], [broken]).Single().Reason);
    }

    [TestMethod]
    public void Job_ThatFitsNoWorker_FailsWhereNoOtherWillCome()
    {
        Assert.IsFalse(Scheduler.Decide(Now, [Job("job", 1, 3, 0)], [Worker("w0", 2, 2)]).Single().Fails);
        Assert.IsTrue(Scheduler.Decide(Now, [Job("job", 1, 3, 0)], [Worker("w0", 2, 2)], isFixed: true).Single().Fails);
        Assert.IsFalse(Scheduler.Decide(Now, [Job("job", 1, 1, 0)], [], isFixed: true).Single().Fails, "The worker may just be starting.");
        Assert.IsFalse(Scheduler.Decide(Now, [Job("job", 1, 2, 0)], [Worker("w0", 0, 2)], isFixed: true).Single().Fails, "It is only busy.");
    }

    [TestMethod]
    [DataRow(3, "2/2", true, DisplayName = "too many ranks")]
    [DataRow(1, "", true, DisplayName = "no worker")]
    [DataRow(2, "0/2", false, DisplayName = "only busy")]
    public void Job_ThatNoWorkerCouldHold_IsUnplaceable(int min, string workers, bool expected) =>
        Assert.AreEqual(expected, Decide([Job("job", 1, min, 0)], workers).Single().IsUnplaceable);

    [TestMethod]
    // ranks min, max | free of total on each worker, ! in doubt | worker and world size, or why it waits
    [DataRow(1, 2, "!2/2 2/2", "w1:2", DisplayName = "another is there")]
    [DataRow(1, 0, "!8/8 2/2", "w1:2", DisplayName = "a smaller one is enough")]
    [DataRow(1, 2, "!2/2 0/2", "waits for 1 rank on one worker; 0 are free on \"host1\"; \"host0\" is left out (it failed)", DisplayName = "another is busy")]
    [DataRow(4, 0, "!4/4 2/2", "w0:4", DisplayName = "no other could hold it")]
    [DataRow(1, 0, "!4/4 !2/2", "w0:4", DisplayName = "all are in doubt")]
    [DataRow(8, 0, "!4/4 2/2", "needs 8 ranks on one worker; the largest worker has 4")]
    public void Worker_InDoubt_IsForJobsThatNoOthersCouldHold(int min, int max, string workers, string expected) =>
        Assert.AreEqual(expected, Outcome(Decide([Job("job", 1, min, max)], workers).Single()));

    [TestMethod]
    public void Worker_InDoubt_IsPutAndRemovedLikeAnyOther()
    {
        var slots = new SlotIndex();
        var job = Job("job", 1, 1, 0);
        slots.Put(Worker("w0", 4, 4) with { Doubt = "it failed" });
        slots.Put(Worker("w1", 2, 2));
        Assert.AreEqual("w1", slots.For(job).Best(job, new WaitingLine(slots))!.Worker.Id);

        slots.Put(Worker("w0", 4, 4));
        Assert.AreEqual("w0", slots.For(job).Best(job, new WaitingLine(slots))!.Worker.Id, "It is trusted again.");
        slots.Put(Worker("w0", 4, 4) with { Doubt = "it failed" });
        slots.Remove("w1");
        Assert.AreEqual("w0", slots.For(job).Best(job, new WaitingLine(slots))!.Worker.Id, "The other has left.");
        slots.Remove("w0");
        Assert.IsTrue(slots.IsEmpty);
        slots.Put(Worker("w0", 4, 4));
        slots.Put(Worker("w1", 2, 2));
        Assert.AreSame(slots, slots.For(job));
    }

    [TestMethod]
    public void Device_Cuda_IsLookedForAmongCudaSlots()
    {
        var job = Job("job", 1, 8, 0) with { Device = DeviceKind.Cuda };
        WorkerCapacity[] workers = [Worker("w0", 16, 16), Worker("w1", 2, 2, DeviceKind.Cuda)];

        Assert.AreEqual("needs 8 ranks of cuda on one worker; the largest worker has 2", Scheduler.Decide(Now, [job], workers).Single().Reason);
        Assert.AreEqual("w1:2", Outcome(Scheduler.Decide(Now, [job with { MinRanks = 1 }], workers).Single()));
        Assert.AreEqual("w0:16", Outcome(Scheduler.Decide(Now, [job with { Device = DeviceKind.Cpu }], workers).Single()));
    }

    [TestMethod]
    public void Device_Any_TakesAGpuButNeverAMixedGang()
    {
        var mixed = new WorkerCapacity("w0", "host0", [new(0, DeviceKind.Cuda, true), new(1, DeviceKind.Cpu, true), new(2, DeviceKind.Cpu, true)]);

        Assert.AreEqual("w0:1", Outcome(Scheduler.Decide(Now, [Job("job", 1, 1, 0)], [mixed]).Single()));
        CollectionAssert.AreEqual(new[] { 1, 2 }, Scheduler.Decide(Now, [Job("job", 1, 2, 0)], [mixed]).Single().Shares.Single().Slots.ToArray());
        Assert.IsEmpty(Scheduler.Decide(Now, [Job("job", 1, 3, 0)], [mixed]).Single().Shares);
    }

    [TestMethod]
    public void Queue_IsByPriorityThenFirstCome()
    {
        var decisions = Decide([Job("late", 3, 1, 1), Job("early", 1, 1, 1), Job("urgent", 9, 1, 1) with { Priority = 1 }], "2/2");

        CollectionAssert.AreEqual(new[] { "urgent", "early", "late" }, decisions.Select(d => d.JobId.Text).ToArray());
        CollectionAssert.AreEqual(new[] { "w0:1", "w0:1", "waits for 1 rank on one worker; 0 are free on \"host0\"" }, decisions.Select(Outcome).ToArray());
    }

    [TestMethod]
    public void Head_ThatWaits_IsNotOvertaken()
    {
        var decisions = Decide([Job("head", 1, 4, 4), Job("small", 2, 1, 1)], "2/4");

        CollectionAssert.AreEqual(
            new[] { "waits for 4 ranks on one worker; 2 are free on \"host0\"", "waits behind job \"head\", which came first" },
            decisions.Select(Outcome).ToArray());
    }

    [TestMethod]
    public void Head_OfHigherPriority_IsNamedAsSuch()
    {
        var decisions = Decide([Job("small", 1, 1, 1), Job("head", 2, 4, 4) with { Priority = 5 }], "2/4");

        Assert.AreEqual("waits behind job \"head\", which has a higher priority", decisions[1].Reason);
    }

    [TestMethod]
    public void Head_ThatCanNeverFit_IsPassed()
    {
        var decisions = Decide([Job("huge", 1, 64, 64), Job("small", 2, 1, 1)], "2/4");

        CollectionAssert.AreEqual(new[] { "needs 64 ranks on one worker; the largest worker has 4", "w0:1" }, decisions.Select(Outcome).ToArray());
    }

    [TestMethod]
    public void Head_ThatWaits_KeepsOnlyTheWorkersItCouldUse()
    {
        var decisions = Decide([Job("head", 1, 4, 4), Job("small", 2, 1, 1)], "2/4 2/2");

        Assert.AreEqual("w1:1", Outcome(decisions[1]));
    }

    [TestMethod]
    public void Job_BeforeItsNextAttempt_WaitsAndHoldsNobodyUp()
    {
        var failed = Job("failed", 1, 1, 0) with { NotBefore = Now + TimeSpan.FromSeconds(1), BackoffReason = "Rank 0 crashed." };

        var decisions = Decide([failed, Job("next", 2, 1, 0)], "2/2");

        CollectionAssert.AreEqual(new[] { "Rank 0 crashed.", "w0:2" }, decisions.Select(Outcome).ToArray());
        Assert.AreEqual("w0:2", Outcome(Scheduler.Decide(Now + TimeSpan.FromSeconds(1), [failed], [Worker("w0", 2, 2)]).Single()));
    }

    [TestMethod]
    public void Slots_OfARound_AreGivenOnce()
    {
        var decisions = Decide([Job("a", 1, 2, 2), Job("b", 2, 2, 2)], "4/4");

        CollectionAssert.AreEqual(new[] { 0, 1, 2, 3 }, decisions.SelectMany(d => d.Shares.Single().Slots).ToArray());
    }

    private static IReadOnlyList<SchedulingDecision> Decide(PendingJob[] jobs, string workers) => Scheduler.Decide(Now, jobs,
        [.. workers.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select((w, i) => Worker($"w{i}", int.Parse(w.Trim('!').Split('/')[0]), int.Parse(w.Split('/')[1])) with { Doubt = w[0] == '!' ? "it failed" : "" })]);

    private static PendingJob Job(string id, long number, int min, int max) => new(OpaqueId.Parse(id), id, number, 0, DeviceKind.Any, min, max);

    private static WorkerCapacity Worker(string id, int free, int total, DeviceKind kind = DeviceKind.Cpu) =>
        new(id, id.Replace("w", "host", StringComparison.Ordinal), [.. Enumerable.Range(0, total).Select(i => new WorkerSlot(i, kind, i < free))]);

    private static string Outcome(SchedulingDecision decision) => decision.Shares.Count == 0 ? decision.Reason : $"{decision.Shares.Single().WorkerId}:{decision.Shares.Single().Slots.Count}";
}
