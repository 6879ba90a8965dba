using System.Diagnostics;
using System.Globalization;
using MLDistributed.Training.Native;

namespace Training.Tests.Loop;

/// <summary>Steps that allocate, in a child process whose managed heap is limited.</summary>
internal static class SmallHeap
{
    private const int Steps = 400;

    /// <summary>What the child found.</summary>
    /// <param name="Inside">Steps into which a collection came.</param>
    /// <param name="Between">Collections in all.</param>
    /// <param name="Noted">Those that the pause has noticed.</param>
    /// <param name="Warnings">Sentences that it said.</param>
    public sealed record Outcome(int Inside, int Between, int Noted, int Warnings);

    /// <summary>Starts this program again; a limit of null is none.</summary>
    public static async Task<Outcome> StartAsync(int kilobytesAStep, string? limit)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!, ["steps", kilobytesAStep.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardOutput = true };
        start.Environment["DOTNET_GCHeapHardLimit"] = limit;
        using var process = Process.Start(start)!;
        var output = await process.StandardOutput.ReadToEndAsync().WaitAsync(Cluster.Bound);
        await process.WaitForExitAsync().WaitAsync(Cluster.Bound);
        Assert.AreEqual(0, process.ExitCode, output);
        var numbers = output.Split(' ').Select(n => int.Parse(n, CultureInfo.InvariantCulture)).ToArray();
        return new Outcome(numbers[0], numbers[1], numbers[2], numbers[3]);
    }

    /// <summary>The child's side.</summary>
    public static int Run(int kilobytesAStep)
    {
        var (inside, warnings, first) = (0, 0, GC.CollectionCount(0));
        using var pause = new CollectionPause(_ => warnings++);
        for (var step = 0; step < Steps; step++)
        {
            var before = GC.CollectionCount(0);
            for (var i = 0; i < kilobytesAStep; i++)
                GC.KeepAlive(new byte[1000]);
            inside += GC.CollectionCount(0) > before ? 1 : 0;
            pause.BetweenSteps();
        }

        Console.Write(string.Create(CultureInfo.InvariantCulture, $"{inside} {GC.CollectionCount(0) - first} {pause.Interruptions} {warnings}"));
        return 0;
    }
}
