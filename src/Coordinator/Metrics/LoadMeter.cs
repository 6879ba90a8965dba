using System.Diagnostics.Metrics;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Metrics;

/// <summary>The cluster's load as gauges. They show what <see cref="Show"/> was given last.</summary>
internal sealed class LoadMeter : IDisposable
{
    public const string Name = "MLDistributed.Coordinator";

    private static readonly JobState[] s_living = [.. Enum.GetValues<JobState>().Where(s => s != JobState.Unspecified && !Jobs.JobStates.IsFinal(s))];
    private readonly Meter _meter = new(Name);
    private volatile ClusterLoad _load = ClusterLoad.None;

    public LoadMeter()
    {
        _meter.CreateObservableGauge("mldist.jobs", () => s_living.Select(s => Of(_load.Jobs.GetValueOrDefault(s), ("state", s))), description: "Jobs that have not ended, by state.");
        _meter.CreateObservableGauge("mldist.workers", () => _load.Workers, description: "Connected workers.");
        _meter.CreateObservableGauge("mldist.slots", () => _load.Devices.Where(d => d.Kind != DeviceKind.Any).SelectMany(SlotsOf), description: "Slots of the connected workers, by kind of device and state.");
        _meter.CreateObservableGauge("mldist.slots.wanted", () => _load.Devices.Select(d => Of(d.Wanted, ("device", d.Kind))), description: "Slots that would serve all jobs at once: those in use and those that waiting jobs would take.");
    }

    public void Show(ClusterLoad load) => _load = load;

    public void Dispose() => _meter.Dispose();

    private static IEnumerable<Measurement<int>> SlotsOf(DeviceLoad device) =>
        from state in new[] { ("free", device.Free), ("busy", device.Busy), ("broken", device.Broken) }
        select new Measurement<int>(state.Item2, Tag("device", device.Kind), new("state", state.Item1));

    private static Measurement<T> Of<T>(T value, (string Name, Enum Value) tag) where T : struct => new(value, Tag(tag.Name, tag.Value));

    private static KeyValuePair<string, object?> Tag(string name, Enum value) => new(name, value.ToString().ToLowerInvariant());
}
