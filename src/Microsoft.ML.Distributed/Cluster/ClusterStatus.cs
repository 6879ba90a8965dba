using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>A look at a cluster.</summary>
/// <param name="Version">The coordinator's version.</param>
/// <param name="Workers">The machines that train.</param>
/// <param name="QueuedJobs">Jobs that wait for devices.</param>
/// <param name="RunningJobs">Jobs that train.</param>
public sealed record ClusterStatus(string Version, IReadOnlyList<ClusterWorker> Workers, int QueuedJobs, int RunningJobs)
{
    internal static ClusterStatus From(ClusterSnapshot snapshot) => new(
        snapshot.Version,
        [.. snapshot.Workers.Select(ClusterWorker.From)],
        snapshot.QueuedJobs,
        snapshot.RunningJobs);
}

/// <summary>A machine of a cluster.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Host">Its name.</param>
/// <param name="Status">"ready", "busy", "broken" (no device can be used), "cordoned" or "lost".</param>
/// <param name="Devices">What it trains on; each takes one rank.</param>
public sealed record ClusterWorker(string Id, string Host, string Status, IReadOnlyList<ClusterDevice> Devices)
{
    /// <summary>Why it gets no jobs, or those alone that no others could hold, as in "2 of the 3 attempts on it failed within 10 min". Told to administrators, and to whose job runs there.</summary>
    /// <value>Empty: it gets jobs.</value>
    public string CordonReason { get; init; } = "";

    /// <summary>Why its ranks meet those of no other worker, though a network is named for them, as in "interface "eth1" has no link". Told to the same.</summary>
    /// <value>Empty: they can, or no network is named.</value>
    public string NetworkFault { get; init; } = "";

    internal static ClusterWorker From(WorkerSnapshot worker) => new(worker.Id, worker.Host, worker.Status, [.. worker.Devices.Select(ClusterDevice.From)])
    {
        CordonReason = worker.Cordon?.Reason ?? "",
        NetworkFault = worker.Network?.Fault ?? "",
    };
}

/// <summary>A core or GPU of a machine.</summary>
/// <param name="Slot">Its number on the machine.</param>
/// <param name="Kind">"cpu" or "cuda".</param>
/// <param name="Name">What the hardware calls itself.</param>
/// <param name="MemoryBytes">Its memory; 0 when unknown.</param>
/// <param name="MemoryUsedBytes">What of it is in use; 0 when unknown.</param>
/// <param name="Utilization">How busy it is, 0 to 1.</param>
public sealed record ClusterDevice(int Slot, string Kind, string Name, long MemoryBytes, long MemoryUsedBytes, double Utilization)
{
    internal static ClusterDevice From(Device device) => new(
        device.Slot,
        device.Kind == DeviceKind.Cuda ? "cuda" : "cpu",
        device.Name,
        device.MemoryBytes,
        device.MemoryUsedBytes,
        device.Utilization);
}
