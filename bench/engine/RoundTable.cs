namespace MLDistributed.Engine.Bench;

/// <summary>What contenders did in rounds: medians, spread, and ratios within a round.</summary>
internal sealed class RoundTable(IReadOnlyList<string> contenders)
{
    private readonly Dictionary<string, List<double>> _values = contenders.ToDictionary(c => c, _ => new List<double>());

    /// <summary>How many points were taken while the machine did not give both cores.</summary>
    public int UncleanCount { get; private set; }

    /// <summary>Takes a contender's point of a round.</summary>
    public T Take<T>(string contender, Func<T> measure, Func<T, double> value)
    {
        var (point, clean) = CoreProbe.Measure(measure);
        Add(contender, value(point));
        UncleanCount += clean ? 0 : 1;
        return point;
    }

    /// <summary>Takes one of several points that were measured together.</summary>
    public void Add(string contender, double value, bool isClean)
    {
        Add(contender, value);
        UncleanCount += isClean ? 0 : 1;
    }

    public void Add(string contender, double value) => _values[contender].Add(value);

    public void Print(string name, string format)
    {
        foreach (var contender in contenders)
            Console.WriteLine($"| {name} | {contender} | {Median(contender).ToString(format)} | {Lowest(contender).ToString(format)} | {Highest(contender).ToString(format)} |");
        if (UncleanCount > 0)
            Console.WriteLine($"| {name} | ({UncleanCount} of {_values.Values.Sum(v => v.Count)} points while the machine did not give both cores) | | | |");
    }

    public double Median(string contender) => Median(_values[contender]);

    public double Lowest(string contender) => _values[contender].Min();

    public double Highest(string contender) => _values[contender].Max();

    public string Ratio(string above, string below)
    {
        double[] ratios = [.. _values[above].Zip(_values[below], (x, y) => x / y).Order()];
        return $"{Median(ratios):0.00} ({ratios[0]:0.00} to {ratios[^1]:0.00})";
    }

    /// <summary>The middle of some values.</summary>
    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
