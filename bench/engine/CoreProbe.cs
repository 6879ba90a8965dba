using System.Diagnostics;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// Says whether this machine gives all its cores: a virtual one may give one of two for tens of seconds, and nothing but
/// the work done shows it.
/// </summary>
internal static class CoreProbe
{
    private const double AcceptedLoss = 0.08;
    private const int MaxAttempts = 3;
    private const int Remembered = 20;
    private static readonly Queue<double> s_rates = new();

    /// <summary>Takes a point, again while the cores were not there before or after it. The last attempt counts as it is.</summary>
    /// <returns>The point, and whether the cores were there.</returns>
    public static (T Point, bool Clean) Measure<T>(Func<T> take)
    {
        for (var attempt = 1; ; attempt++)
        {
            var before = Loss();
            var point = take();
            var clean = Math.Max(before, Loss()) <= AcceptedLoss;
            if (clean || attempt == MaxAttempts)
                return (point, clean);
        }
    }

    /// <summary>
    /// The part of its work that the slower of two busy threads did not get done, since ranks wait for the slowest. A core's
    /// rate is the best of the last probes: of all, it would be that of a moment with a faster clock.
    /// </summary>
    private static double Loss()
    {
        var rates = new double[2];
        var threads = Enumerable.Range(0, rates.Length).Select(i => new Thread(() => rates[i] = Spin())).ToArray();
        Array.ForEach(threads, t => t.Start());
        Array.ForEach(threads, t => t.Join());
        s_rates.Enqueue(rates.Max());
        if (s_rates.Count > Remembered)
            s_rates.Dequeue();
        return 1 - rates.Min() / s_rates.Max();
    }

    private static double Spin()
    {
        var watch = Stopwatch.StartNew();
        var (count, value) = (0L, 1u);
        while (watch.ElapsedMilliseconds < 200)
        {
            for (var i = 0; i < 10_000; i++)
                value = value * 1664525 + 1013904223;
            count++;
        }

        return (value == 0 ? 0 : count) / watch.Elapsed.TotalSeconds;
    }
}
