using MLDistributed.Coordinator.Cordons;
using MLDistributed.Coordinator.Scheduling;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Workers;

/// <summary>A worker as it lives on the event loop.</summary>
internal sealed class WorkerEntry
{
    public required string Id { get; init; }
    public string Host { get; set; } = "";

    /// <summary>Set by <see cref="WorkerTable"/>, as all that decides which slots are free.</summary>
    public IReadOnlyList<Device> Devices { get; set; } = [];

    /// <summary>By the coordinator's awake clock.</summary>
    public TimeSpan LastSeen { get; set; }

    /// <summary>Known from the database only: it has not connected to this coordinator yet.</summary>
    public bool IsRestored { get; set; }
    public bool IsLost { get; set; }

    /// <summary>It came through the Unix socket: it is this machine's user, to whom all files belong.</summary>
    public bool IsLocal { get; set; }

    /// <summary>Whether jobs may be placed here.</summary>
    public bool IsConnected => Session is not null && !IsLost;

    /// <summary>Its open stream; null between two connections.</summary>
    public WorkerSession? Session { get; set; }

    /// <summary>How much it may tell.</summary>
    public RelayLimits Limits { get; } = new();

    /// <summary>What runs there, wanted or being stopped, by attempt id.</summary>
    public Dictionary<OpaqueId, AttemptPart> Attempts { get; } = [];

    /// <summary>Which release it is of.</summary>
    public string Build { get; set; } = "";

    /// <summary>Where its ranks meet those of other workers, as it says itself; null: nowhere.</summary>
    public Network? Network { get; set; }

    /// <summary>What others say of that; set by <see cref="WorkerTable"/>, null: nothing.</summary>
    public NetworkDoubt? NetworkDoubt { get; set; }

    /// <summary>Set by <see cref="WorkerTable"/>; null: jobs are placed here.</summary>
    public Cordon? Cordon { get; set; }

    public WorkerCapacity ToCapacity()
    {
        var network = UsableNetwork();
        var closed = Cordon is { IsByHand: true } ? $"it is cordoned: {Cordon.Reason}" : "";
        var holdsAll = Attempts.Values.Any(a => a.IsForeign); // nobody knows which slots such an attempt has
        var taken = Attempts.Values.SelectMany(a => a.Slots).ToHashSet();
        var held = Attempts.Values.Where(a => a.GivenUpFor is not null).SelectMany(a => a.Slots).ToHashSet();
        return new WorkerCapacity(Id, Host, [.. Devices.Select(d => new WorkerSlot(d.Slot, d.Kind, !holdsAll && !taken.Contains(d.Slot), d.Fault.Length > 0 ? d.Fault : closed, holdsAll || held.Contains(d.Slot))
        {
            Model = d.Kind == DeviceKind.Cuda ? d.Name : "",
            MemoryBytes = d.Kind == DeviceKind.Cuda ? d.MemoryBytes : 0,
        })])
        {
            Meeting = network is { Fault: "" } ? $"mldist {Build} with {network.Mpi}" : "",
            CannotMeet = network is null ? "was started without --network" : $"cannot use its network: {network.Fault}",
            Nccl = network?.Nccl ?? "",
            NoNccl = network?.NcclFault ?? "",
            Doubt = Cordon is { IsByHand: false } ? Cordon.Reason : "",
        };
    }

    public WorkerSnapshot ToSnapshot(TimeSpan now) => new()
    {
        Id = Id,
        Host = Host,
        Status = Status,
        Devices = { Devices },
        Network = UsableNetwork(),
        Cordon = Cordon?.ToSnapshot(now),
    };

    /// <summary>Without who it is, and without what others do on it.</summary>
    public WorkerSnapshot ToAnonymous() => new()
    {
        Status = Status,
        Devices = { Devices.Select(d => new Device { Slot = d.Slot, Kind = d.Kind, Index = d.Index, Name = d.Name, MemoryBytes = d.MemoryBytes, Fault = d.Fault.Length > 0 ? "it cannot be used" : "" }) },
    };

    private Network? UsableNetwork() =>
        Network is { Fault: "" } && NetworkDoubt is { IsOver: false } doubt ? new Network(Network) { Fault = doubt.Reason } : Network;

    private string Status => IsLost || Session is null ? "lost"
        : Attempts.Count > 0 ? "busy"
        : Devices.Count > 0 && Devices.All(d => d.Fault.Length > 0) ? "broken"
        : Cordon is not null ? "cordoned"
        : "ready";
}
