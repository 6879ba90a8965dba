using System.Diagnostics;
using System.Runtime.InteropServices;
using MLDistributed.Collectives.SharedMemory;

namespace MLDistributed.Engine.Bench;

/// <summary>One rank of a measured all-reduce.</summary>
internal static unsafe class AllReduceRank
{
    private const int MaxCount = 1_000_000;

    /// <summary>Arguments: bytes, seconds, rank, segment, "copied" or "in-place". Rank 0 prints mean and median in microseconds.</summary>
    public static int Run(string[] args)
    {
        var length = int.Parse(args[0]) / sizeof(float);
        var (seconds, rank, inPlace) = (double.Parse(args[1]), int.Parse(args[2]), args[4] == "in-place");
        Console.WriteLine("ready");
        Console.In.ReadToEnd();
        using var collective = new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions { Path = args[3], Rank = rank, WorldSize = 2, Length = inPlace ? length : 0 }));
        var values = inPlace ? collective.Segment.Gradients(rank) : (float*)NativeMemory.AlignedAlloc((nuint)length * sizeof(float), 4096);
        new Span<float>(values, length).Clear();
        var times = new List<double>();
        var stop = new double[1];
        for (var watch = Stopwatch.StartNew(); ;)
        {
            if (rank == 0 && times.Count > 0 && (watch.Elapsed.TotalSeconds > seconds || times.Count == MaxCount))
                stop[0] = 1;
            collective.Broadcast(stop, 0);
            if (stop[0] != 0)
                break;
            // As gradients are: freshly written by their rank, in its cache where they fit.
            new Span<float>(values, length).Clear();
            collective.Barrier();
            var started = Stopwatch.GetTimestamp();
            collective.AllReduce(new Span<float>(values, length));
            times.Add(Stopwatch.GetElapsedTime(started).TotalMicroseconds);
        }

        if (rank == 0)
            Console.WriteLine($"{times.Average()} {times.Order().ElementAt(times.Count / 2)}");
        return 0;
    }
}
