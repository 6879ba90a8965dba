using System.Diagnostics;
using System.Runtime.InteropServices;
using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Engine.Bench;

/// <summary>One rank of a measured all-reduce.</summary>
internal static unsafe class AllReduceRank
{
    private const int MaxCount = 1_000_000;

    // Until then the runtime may run code that it has not optimised yet.
    private static readonly TimeSpan s_warmUp = TimeSpan.FromSeconds(0.5);

    /// <summary>Arguments: bytes, seconds after the warm-up, rank, segment, "copied" or "in-place". Rank 0 prints mean and median in microseconds.</summary>
    public static int Run(string[] args)
    {
        var length = int.Parse(args[0]) / sizeof(float);
        var (end, rank, inPlace) = (s_warmUp + TimeSpan.FromSeconds(double.Parse(args[1])), int.Parse(args[2]), args[4] == "in-place");
        Console.WriteLine("ready");
        Console.In.ReadToEnd();
        using var collective = new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = args[3], Rank = rank, WorldSize = 2, Length = inPlace ? length : 0 }));
        var values = inPlace ? collective.Segment.Gradients(rank) : (float*)NativeMemory.AlignedAlloc((nuint)length * sizeof(float), 4096);
        new Span<float>(values, length).Clear();
        var times = new List<double>();
        var stop = new double[1];
        for (var watch = Stopwatch.StartNew(); ;)
        {
            if (rank == 0 && times.Count > 0 && (watch.Elapsed > end || times.Count == MaxCount))
                stop[0] = 1;
            collective.Broadcast(stop, 0);
            if (stop[0] != 0)
                break;
            // As gradients are: freshly written by their rank, in its cache where they fit.
            new Span<float>(values, length).Clear();
            collective.Barrier();
            var started = Stopwatch.GetTimestamp();
            collective.AllReduce(new Span<float>(values, length));
            if (watch.Elapsed > s_warmUp)
                times.Add(Stopwatch.GetElapsedTime(started).TotalMicroseconds);
        }

        if (rank == 0)
            Console.WriteLine($"{times.Average()} {times.Order().ElementAt(times.Count / 2)}");
        return 0;
    }
}
