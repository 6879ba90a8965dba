using System.Globalization;

namespace MLDistributed.Coordinator.Membership;

/// <summary>Decides which workers are lost.</summary>
internal static class MembershipRules
{
    public static IReadOnlyList<LostWorker> Decide(TimeSpan now, IEnumerable<Member> members, TimeSpan heartbeatTimeout, TimeSpan recoveryTimeout)
    {
        var lost = new List<LostWorker>();
        foreach (var member in members)
        {
            var silence = now - member.LastSeen;
            var limit = member.IsRestored ? recoveryTimeout : heartbeatTimeout;
            if (silence <= limit)
                continue;
            lost.Add(new LostWorker(member.Id, member.IsRestored
                ? $"worker \"{member.Host}\" did not reconnect within {Seconds(limit)} of the coordinator's restart"
                : $"worker \"{member.Host}\" was silent for {Seconds(silence)}, expected a sign of life within {Seconds(limit)}"));
        }

        return lost;
    }

    private static string Seconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.#} s");
}

/// <summary>A worker that is not lost yet. Restored: known from the database only, since this coordinator's start. LastSeen is by its awake clock.</summary>
internal sealed record Member(string Id, string Host, TimeSpan LastSeen, bool IsRestored);

internal sealed record LostWorker(string Id, string Reason);
