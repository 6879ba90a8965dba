using System.Globalization;
using Google.Protobuf.WellKnownTypes;
using MLDistributed.Protocol;

namespace MLDistributed.Cli.Output;

/// <summary>Words for what the protocol enumerates and counts.</summary>
internal static class Words
{
    private static readonly string[] s_units = ["B", "KiB", "MiB", "GiB", "TiB"];

    public static string Of(JobState state) => state.ToString().ToLowerInvariant();

    public static string Of(DeviceKind kind) => kind.ToString().ToLowerInvariant();

    public static string Count(long count, string noun) => count == 1 ? $"1 {noun}" : string.Create(CultureInfo.InvariantCulture, $"{count:N0} {noun}s");

    /// <summary>The wire counts epochs from 0, people from 1.</summary>
    public static int Epoch(int onTheWire) => onTheWire + 1;

    /// <summary>The time of day; the date too, when it is another than today's.</summary>
    public static string Of(DateTimeOffset time, DateTimeOffset now) =>
        time.ToLocalTime().Date == now.ToLocalTime().Date ? $"{time.ToLocalTime():HH:mm:ss}" : $"{time.ToLocalTime():yyyy-MM-dd HH:mm}";

    /// <summary>The time that a message tells; null where it tells none, or one of no calendar.</summary>
    public static DateTimeOffset? Time(Timestamp? time) => time is { Seconds: >= -62_135_596_800 and <= 253_402_300_799, Nanos: >= 0 and <= 999_999_999 } ? time.ToDateTimeOffset() : null;

    /// <summary>So many seconds; as many as there may be when they are more, or none.</summary>
    public static string Duration(double seconds) => Duration(TimeSpan.FromSeconds(double.IsNaN(seconds) ? 0 : Math.Clamp(seconds, 0, 1e9)));

    public static string Duration(TimeSpan time) => time switch
    {
        { TotalSeconds: < 9.95 } => string.Create(CultureInfo.InvariantCulture, $"{Math.Max(0, time.TotalSeconds):0.0} s"),
        { TotalSeconds: < 100 } => $"{time.TotalSeconds:0} s",
        { TotalMinutes: < 100 } => $"{time.TotalMinutes:0} min",
        { TotalHours: < 48 } => $"{time.TotalHours:0} h",
        _ => $"{time.TotalDays:0} days",
    };

    public static string Bytes(long count)
    {
        var (value, unit) = ((double)count, 0);
        while (value >= 1023.95 && unit < s_units.Length - 1)
            (value, unit) = (value / 1024, unit + 1);
        return string.Create(CultureInfo.InvariantCulture, $"{value.ToString(unit == 0 ? "0" : "0.0", CultureInfo.InvariantCulture)} {s_units[unit]}");
    }

    /// <summary>Which ranks are where, as in: 0 to 3 on "box".</summary>
    public static IEnumerable<string> Places(IEnumerable<Participant> hosts)
    {
        var first = 0;
        foreach (var host in hosts)
        {
            yield return host.Ranks == 1 ? $"{first} on \"{host.Host}\"" : $"{first} to {first + host.Ranks - 1} on \"{host.Host}\"";
            first += host.Ranks;
        }
    }

    /// <summary>What a cordon means for whoever looks for a place for a job.</summary>
    public static string Of(WorkerCordon cordon, string host) => cordon.IsByHand
        ? $"\"{host}\" is cordoned and gets no jobs: {cordon.Reason}."
        : $"\"{host}\" gets only jobs that no others could hold for {Duration(cordon.SecondsLeft)} more: {cordon.Reason}.";

    public static bool IsLast(this JobState state) => state is JobState.Succeeded or JobState.Failed or JobState.Cancelled;
}
