using System.Globalization;

namespace MLDistributed.Coordinator.Cordons;

/// <summary>
/// Decides which workers failures follow. A circuit breaker (M. Nygard, Release It!, 2007): so many failures open it for a
/// while, and until an attempt has ended well there, the next failure opens it again, for twice as long.
/// </summary>
internal static class CordonRules
{
    private static readonly TimeSpan LongestPeriod = TimeSpan.FromHours(1);

    /// <summary>The cordon that a worker is given after another failure on it; null: none.</summary>
    /// <param name="now">The awake clock's time.</param>
    /// <param name="workerId">The worker.</param>
    /// <param name="history">The latest outcomes on all workers.</param>
    /// <param name="earlier">How many cordons it had since an attempt ended well on it.</param>
    /// <param name="options">How many failures, within what time, and for how long.</param>
    public static Cordon? Decide(TimeSpan now, string workerId, IReadOnlyCollection<AttemptOutcome> history, int earlier, CoordinatorOptions options)
    {
        var recent = history.Where(o => now - o.Time <= options.CordonWindow).ToList();
        var elsewhere = recent.Where(o => o.Kind == OutcomeKind.Crashed && o.WorkerId != workerId).Select(o => o.JobId).ToHashSet();
        var here = recent.Where(o => o.WorkerId == workerId).ToList();
        // A job that crashes on other workers too has the cause in itself.
        var failures = here.Where(o => o.Kind == OutcomeKind.Lost || (o.Kind == OutcomeKind.Crashed && !elsewhere.Contains(o.JobId))).ToList();
        var limit = earlier > 0 ? 1 : options.CordonFailures;
        if (options.CordonFailures == 0 || failures.Count < limit || failures.Count * 2 < here.Count)
            return null;
        var period = Math.Min(options.CordonPeriod.TotalSeconds * Math.Pow(2, earlier), Math.Max(options.CordonPeriod.TotalSeconds, LongestPeriod.TotalSeconds));
        return new Cordon($"{Failed(failures.Count, here.Count)} within {Minutes(options.CordonWindow)}", now + TimeSpan.FromSeconds(period), failures);
    }

    /// <summary>Whether a cordon has lost its grounds: all that it was made for were crashes of jobs that crashed on other workers since.</summary>
    public static bool IsExplained(string workerId, Cordon cordon, IReadOnlyCollection<AttemptOutcome> history) =>
        !cordon.IsByHand && cordon.Failures.All(f => f.Kind == OutcomeKind.Crashed && history.Any(o => o.Kind == OutcomeKind.Crashed && o.JobId == f.JobId && o.WorkerId != workerId));

    private static string Failed(int failures, int all) => all == 1 ? "the last attempt on it failed" : $"{failures} of the {all} attempts on it failed";

    private static string Minutes(TimeSpan time) => time.TotalSeconds < 100
        ? string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds:0.#} s")
        : string.Create(CultureInfo.InvariantCulture, $"{time.TotalMinutes:0.#} min");
}
