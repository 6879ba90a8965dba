using MLDistributed.Coordinator.Metrics;
using MLDistributed.Coordinator.Scheduling;

namespace MLDistributed.Coordinator.Tests.Metrics;

[TestClass]
public sealed class ClusterLoadTests
{
    [TestMethod]
    // jobs' ranks, least and most, and device | slots of a worker as free/busy/broken, and device | wanted by device
    [DataRow("", "", "", DisplayName = "nothing")]
    [DataRow("", "3/2/1cpu", "cpu 2", DisplayName = "what is in use is wanted")]
    [DataRow("1-0cpu", "", "cpu 1", DisplayName = "the fewest of a job that takes whatever there is")]
    [DataRow("2-6cpu", "1/2/0cpu", "cpu 8", DisplayName = "the most of one that names a number")]
    [DataRow("1-4any 1-0cuda", "0/4/0cpu 2/0/0cuda", "any 4, cpu 4, cuda 1", DisplayName = "by kind")]
    public void Wanted_OfJobsAndWorkers_IsWhatWouldServeAll(string jobs, string workers, string expected)
    {
        var load = ClusterLoad.Of([], jobs.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Job), workers.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(Worker));

        Assert.AreEqual(expected, string.Join(", ", load.Devices.Select(d => $"{d.Kind.ToString().ToLowerInvariant()} {d.Wanted}")));
    }

    [TestMethod]
    public void Slots_FreeBusyAndBroken_AreEachCountedOnce()
    {
        var load = ClusterLoad.Of([JobState.Queued, JobState.Running, JobState.Queued], [], [Worker("3/2/1cpu"), Worker("1/0/0cpu")]);

        Assert.AreEqual(new DeviceLoad(DeviceKind.Cpu, Free: 4, Busy: 2, Broken: 1, Wanted: 2), load.Devices.Single());
        Assert.AreEqual(2, load.Workers);
        Assert.AreEqual(2, load.Jobs[JobState.Queued]);
    }

    private static PendingJob Job(string text, int number)
    {
        var kind = Kind(text, out var ranks);
        var parts = ranks.Split('-');
        return new PendingJob(OpaqueId.Parse($"job{number}"), "job", number, 0, kind, int.Parse(parts[0]), int.Parse(parts[1]));
    }

    private static WorkerCapacity Worker(string text)
    {
        var kind = Kind(text, out var slots);
        var counts = slots.Split('/').Select(int.Parse).ToArray();
        return new WorkerCapacity(text, text, [.. Enumerable.Range(0, counts.Sum()).Select(i => new WorkerSlot(i, kind, IsFree: i < counts[0], i < counts[0] + counts[1] ? "" : "no libtorch"))]);
    }

    private static DeviceKind Kind(string text, out string numbers)
    {
        numbers = text.TrimEnd([.. "abcdefghijklmnopqrstuvwxyz"]);
        return Enum.Parse<DeviceKind>(text[numbers.Length..], ignoreCase: true);
    }
}
