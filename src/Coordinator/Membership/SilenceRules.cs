using System.Globalization;
using MLDistributed.Protocol;

namespace MLDistributed.Coordinator.Membership;

/// <summary>Decides which of an attempt's workers the network between them has lost, by what each says of the others.</summary>
internal static class SilenceRules
{
    private const string BeforeTraining = "See whether --network names one network on all of them, and whether firewalls and switches let through what goes to the ports of --network-ports there, TCP and UDP.";

    /// <param name="hosts">The attempt's workers as messages call them, in the order of their ranks.</param>
    /// <param name="told">Who does not hear whom.</param>
    /// <param name="hasTrained">Whether they have met, and trained.</param>
    /// <param name="earlier">With how many workers beside these each of them was in a tie before.</param>
    /// <returns>The one with the most others, of now or of before, between whom and it something is not heard; of those alike the one that most do not hear; of those alike, which are in a tie, the last, so that the one with rank 0 stays. Null: nobody says anything.</returns>
    public static LostHost? Decide(IReadOnlyList<string> hosts, IReadOnlyCollection<Silence> told, bool hasTrained, IReadOnlyList<int> earlier)
    {
        if (told.Count == 0)
            return null;
        // Connections are looked at when all are heard.
        var isConnection = told.All(s => s.IsConnection);
        told = [.. told.Where(s => s.IsConnection == isConnection)];
        var weights = Enumerable.Range(0, hosts.Count).Select(h => (Others: OthersOf(h).Count() is var others and > 0 ? others + earlier[h] : 0, Deaf: told.Count(s => s.Of == h))).ToList();
        var lost = weights.LastIndexOf(weights.Max());
        var deaf = told.Where(s => s.Of == lost).OrderBy(s => s.By).ToList();
        var unheard = told.Where(s => s.By == lost).OrderBy(s => s.Of).ToList();
        var (finding, remedy) = (deaf.Count, unheard.Count) switch
        {
            (0, _) => ($"{Miss([lost], unheard)}; {(isConnection ? "they get one to it" : "they hear it")}.", "Look at its cable, switch and firewall."),
            (_, 0) => ($"{Miss(deaf.Select(s => s.By), deaf[..1])}.", "See whether its machine or process stood still, and look at the network between them."),
            _ => ($"{Miss(deaf.Select(s => s.By), deaf[..1])}, and {Quoted(lost)} {(isConnection ? "none to" : "nothing of")} {Words.Join(unheard.Select(s => Quoted(s.Of)))}.", "Look at the cables, switches and firewalls between them."),
        };
        // Who stood still says nothing of others, and may be as good as before.
        return new LostHost(lost, $"{finding} {(hasTrained ? remedy : BeforeTraining)}", IsCutOff: unheard.Count > 0 || !hasTrained)
        {
            // Where one of the others weighs less it is not a tie with it: two may be cut off at once.
            Ties = OthersOf(lost).All(o => weights[o] == weights[lost]) ? [.. OthersOf(lost).Order()] : [],
        };

        IEnumerable<int> OthersOf(int host) => told.Where(s => s.By == host || s.Of == host).Select(s => s.By + s.Of - host).Distinct();

        string Miss(IEnumerable<int> by, IReadOnlyList<Silence> of)
        {
            var who = by.Select(Quoted).ToList();
            var (misses, way, expected) = isConnection ? ("got no connection to", "TCP", "one") : ("heard nothing of", "UDP", "a heartbeat every half second");
            return $"Worker{(who.Count == 1 ? "" : "s")} {Words.Join(who)} {(who.Count == 1 ? "has" : "have")} {misses} worker{(of.Count == 1 ? "" : "s")} {Words.Join(of.Select(s => $"{Quoted(s.Of)} ({s.Address}, {way})"))} for {Seconds(of.Max(s => s.For))} over the network of their ranks, expected {expected}";
        }

        string Quoted(int host) => $"\"{hosts[host]}\"";
    }

    private static string Seconds(TimeSpan time) => string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.#} s");
}

/// <summary>One worker of an attempt has not heard another, or not reached it.</summary>
/// <param name="By">Who says so: its place among the attempt's workers.</param>
/// <param name="Of">Who was not heard.</param>
/// <param name="For">For how long.</param>
/// <param name="Address">Where it should be.</param>
internal sealed record Silence(int By, int Of, TimeSpan For, string Address)
{
    /// <summary>Whether the other takes no connection there; else no heartbeat comes.</summary>
    public bool IsConnection { get; init; }
}

/// <summary>The worker that a network has lost.</summary>
/// <param name="Host">Its place among the attempt's workers.</param>
/// <param name="Reason">Who does not hear it, in a sentence.</param>
/// <param name="IsCutOff">Whether it would be so in the next attempt: it lives, and its network does not carry.</param>
internal sealed record LostHost(int Host, string Reason, bool IsCutOff)
{
    /// <summary>The others of a tie, in which it may as well be them: it counts against nobody. None: it is this one.</summary>
    public IReadOnlyList<int> Ties { get; init; } = [];
}
