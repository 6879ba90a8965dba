using System.Diagnostics;
using System.Text.RegularExpressions;
using Microsoft.ML.Distributed;

namespace MLDistributed.Bench;

/// <summary>What a job of the storm suffers, and how soon it trains again.</summary>
internal sealed partial class StormJob : IProgress<TrainingProgress>
{
    private readonly Lock _gate = new();
    private (string Kind, long At)? _expected;
    private bool _follows;

    /// <summary>Where it runs; null: nowhere yet.</summary>
    public string? Host { get; private set; }

    /// <summary>Whether it told of losses since it was hit last.</summary>
    public bool IsTraining { get; private set; }

    public bool IsHit => _expected is not null;

    public List<(string Kind, double Seconds)> Recoveries { get; } = [];

    /// <summary>A fault ends its attempt now.</summary>
    public void Hit(string kind)
    {
        lock (_gate)
            (_expected, _follows, IsTraining) = (_expected ?? (kind, Stopwatch.GetTimestamp()), false, false);
    }

    public void Report(TrainingProgress value)
    {
        lock (_gate)
        {
            if (value.State == TrainingState.Running && Where().Match(value.Message) is { Success: true } match)
                Host = match.Groups[1].Value;
            // Not for a coordinator that started again, whose workers keep training.
            _follows |= value.State == TrainingState.Recovering && value.Message.Contains(" follows", StringComparison.Ordinal);
            if (value.RecentLosses.Count == 0)
                return;
            if (_expected is { } hit && _follows)
            {
                Recoveries.Add((hit.Kind, Stopwatch.GetElapsedTime(hit.At).TotalSeconds));
                Console.Error.WriteLine($"    {hit.Kind}: {Recoveries[^1].Seconds:F2} s");
                _expected = null;
            }

            IsTraining = _expected is null;
        }
    }

    [GeneratedRegex("\"(w[0-9])\"", RegexOptions.None, 1000)]
    private static partial Regex Where();
}
