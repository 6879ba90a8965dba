using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>Looks at this process's proportional set size now and then: memory that n processes map counts as an n-th in each.</summary>
internal sealed class MemorySampler : IDisposable
{
    private readonly List<double> _samples = [];
    private readonly Timer _timer;

    public MemorySampler() => _timer = new Timer(_ => Sample(), null, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(0.5));

    /// <summary>Bytes; the median leaves out the start and the time when other ranks have left. 0 where the system does not tell.</summary>
    public double MedianBytes
    {
        get
        {
            lock (_samples)
                return _samples.Count == 0 ? 0 : _samples.Order().ElementAt(_samples.Count / 2);
        }
    }

    public void Dispose() => _timer.Dispose();

    private void Sample()
    {
        const string Path = "/proc/self/smaps_rollup";
        if (!File.Exists(Path))
            return;
        var line = File.ReadLines(Path).First(l => l.StartsWith("Pss:", StringComparison.Ordinal));
        lock (_samples)
            _samples.Add(1024 * double.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture));
    }
}
