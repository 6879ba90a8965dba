using System.Diagnostics;
using System.Globalization;

namespace MLDistributed.Engine.Bench;

/// <summary>
/// Processes that train for a while when it is their turn and wait otherwise: contenders alternate within seconds, so that
/// what is slow for half a minute is slow for all of them.
/// </summary>
internal sealed class Job : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(5);
    private readonly Process[] _processes;
    private readonly int _leaders;

    /// <param name="processes">All of them; owned from now on.</param>
    /// <param name="leaders">How many of them, the first ones, are told their turn by an empty line and answer with a line of numbers.</param>
    public Job(Process[] processes, int leaders)
    {
        (_processes, _leaders) = (processes, leaders);
        try
        {
            // Warm from now on.
            Turn();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Trains for a while; what each leader answered.</summary>
    public double[][] Turn()
    {
        foreach (var process in _processes[.._leaders])
            process.StandardInput.WriteLine();
        return [.. _processes[.._leaders].Select(Answer)];
    }

    public IEnumerable<int> ProcessIds => _processes.Select(p => p.Id);

    public void Dispose() => Ranks.End(_processes);

    private static double[] Answer(Process process)
    {
        var line = process.StandardOutput.ReadLineAsync();
        if (!line.Wait(s_limit) || line.Result is null)
            throw new InvalidOperationException($"{process.StartInfo.FileName} {string.Join(' ', process.StartInfo.ArgumentList)} failed or did not answer within {s_limit}.");
        return [.. line.Result.Split(' ').Select(text => double.Parse(text, CultureInfo.InvariantCulture))];
    }
}
