namespace MLDistributed.Engine.Bench;

/// <summary>Rounds of contenders: medians, spread, and ratios within a round.</summary>
internal sealed class RoundTable(int rounds, string[] contenders)
{
    private readonly double[][] _values = [.. contenders.Select(_ => new double[rounds])];
    private int _unclean;

    /// <summary>Takes every contender once a round.</summary>
    public void Take(Func<string, double> measure)
    {
        for (var round = 0; round < rounds; round++)
        {
            for (var i = 0; i < contenders.Length; i++)
            {
                (_values[i][round], var clean) = CoreProbe.Measure(() => measure(contenders[i]));
                _unclean += clean ? 0 : 1;
                Console.Error.Write('.');
            }
        }

        Console.Error.WriteLine();
    }

    public void Print(string name, string format)
    {
        for (var i = 0; i < contenders.Length; i++)
            Console.WriteLine($"| {name} | {contenders[i]} | {Median(_values[i]).ToString(format)} | {_values[i].Min().ToString(format)} | {_values[i].Max().ToString(format)} |");
        if (_unclean > 0)
            Console.WriteLine($"| {name} | ({_unclean} of {rounds * contenders.Length} points while the machine did not give both cores) | | | |");
    }

    public double Median(string contender) => Median(_values[Array.IndexOf(contenders, contender)]);

    public double Lowest(string contender) => _values[Array.IndexOf(contenders, contender)].Min();

    public double Highest(string contender) => _values[Array.IndexOf(contenders, contender)].Max();

    public string Ratio(string above, string below)
    {
        var (a, b) = (_values[Array.IndexOf(contenders, above)], _values[Array.IndexOf(contenders, below)]);
        double[] ratios = [.. a.Zip(b, (x, y) => x / y)];
        return $"{Median(ratios):0.00} ({ratios.Min():0.00} to {ratios.Max():0.00})";
    }

    private static double Median(double[] values)
    {
        double[] sorted = [.. values.Order()];
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
