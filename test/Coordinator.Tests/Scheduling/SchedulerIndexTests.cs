using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Scheduling;

/// <summary>The rounds that look at changes alone come to what a round over everything comes to.</summary>
[TestClass]
public sealed class SchedulerIndexTests
{
    private const int Seeds = 60;
    private const int Steps = 40;

    [TestMethod]
    public void Decide_AfterAnyChanges_PlacesWhatARoundOverEverythingPlaces()
    {
        for (var seed = 0; seed < Seeds; seed++)
        {
            var random = new Random(seed);
            var (queue, slots) = (new JobQueue(), new SlotIndex());
            var (jobs, workers) = (new Dictionary<OpaqueId, PendingJob>(), new Dictionary<string, WorkerCapacity>());
            for (var step = 0; step < Steps; step++)
            {
                Change(random, step, queue, slots, jobs, workers);
                var expected = NaiveScheduler.Decide(jobs.Values, workers.Values);
                var found = new List<(string, string, string)>();
                while (Scheduler.Decide(queue, slots) is { } next)
                {
                    var share = next.Shares.Single();
                    found.Add((next.JobId.Text, share.WorkerId, string.Join(',', share.Slots)));
                    queue.Remove(next.JobId);
                    jobs.Remove(next.JobId);
                    slots.Put(workers[share.WorkerId] = workers[share.WorkerId].Without(share.Slots));
                }

                CollectionAssert.AreEquivalent(expected.ToList(), found, $"seed {seed}, step {step}");
                foreach (var waiting in jobs.Values)
                    Assert.AreNotEqual("", Scheduler.Explain(waiting, queue.Heads(slots), slots));
            }
        }
    }

    [TestMethod]
    public void Heads_OfAnyNumberOfEqualJobs_AreOne()
    {
        var (queue, slots) = (new JobQueue(), new SlotIndex());
        slots.Put(Worker("w0", [new WorkerSlot(0, DeviceKind.Cpu, IsFree: false)]));
        for (var number = 1; number <= 10_000; number++)
            queue.Put(Job(number, DeviceKind.Any, min: 1, max: number % 3));

        Assert.HasCount(1, queue.Heads(slots));
        Assert.AreEqual("j1", queue.Heads(slots)[0].Id.Text);
        Assert.AreEqual("waits behind job \"j1\", which came first", Scheduler.Explain(queue.Find(OpaqueId.Parse("j9999"))!, queue.Heads(slots), slots));
    }

    [TestMethod]
    public void Job_ThatSleepsAfterAFailure_IsInTheQueueWhenItsTimeHasCome()
    {
        var (queue, slots) = (new JobQueue(), new SlotIndex());
        slots.Put(Worker("w0", [new WorkerSlot(0, DeviceKind.Cpu, IsFree: true)]));
        queue.Put(Job(1, DeviceKind.Any, 1, 0) with { NotBefore = TimeSpan.FromSeconds(5), BackoffReason = "It broke." });

        queue.Wake(TimeSpan.FromSeconds(4));
        Assert.IsNull(Scheduler.Decide(queue, slots));
        Assert.AreEqual("It broke.", Scheduler.Explain(queue.Find(OpaqueId.Parse("j1"))!, queue.Heads(slots), slots));
        queue.Wake(TimeSpan.FromSeconds(5));
        Assert.AreEqual("w0", Scheduler.Decide(queue, slots)?.Shares.Single().WorkerId);
    }

    private static void Change(Random random, int step, JobQueue queue, SlotIndex slots, Dictionary<OpaqueId, PendingJob> jobs, Dictionary<string, WorkerCapacity> workers)
    {
        switch (random.Next(4))
        {
            case 0 when jobs.Count > 0 && random.Next(4) == 0:
                var gone = jobs.Keys.ElementAt(random.Next(jobs.Count));
                jobs.Remove(gone);
                queue.Remove(gone);
                break;
            case 0 or 1:
                var min = random.Next(1, 6);
                var job = Job(step, (DeviceKind)random.Next(3), min, random.Next(2) == 0 ? 0 : random.Next(min, 7), random.Next(3)) with { MixesModels = random.Next(2) == 0 };
                jobs.Add(job.Id, job);
                queue.Put(job);
                break;
            case 2 when workers.Count > 0 && random.Next(3) == 0:
                var lost = workers.Keys.ElementAt(random.Next(workers.Count));
                workers.Remove(lost);
                slots.Remove(lost);
                break;
            default: // new, or with other slots free than before
                var worker = Worker($"w{random.Next(6)}", [.. Enumerable.Range(0, random.Next(1, 7)).Select(i =>
                    new WorkerSlot(i, random.Next(2) == 0 ? DeviceKind.Cuda : DeviceKind.Cpu, random.Next(2) == 0, random.Next(8) == 0 ? "broken" : "") { Model = $"GPU {random.Next(2)}", MemoryBytes = random.NextInt64(3) << 30 })]);
                workers[worker.Id] = worker;
                slots.Put(worker);
                break;
        }
    }

    private static PendingJob Job(int number, DeviceKind device, int min, int max, int priority = 0) => new(OpaqueId.Parse($"j{number}"), $"j{number}", number, priority, device, min, max);

    private static WorkerCapacity Worker(string id, IReadOnlyList<WorkerSlot> slots) => new(id, id, slots);
}
