using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using MLDistributed.Collectives;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Tests.Shared;
using Collectives.Tests.Mpi;

namespace Collectives.Tests.Processes;

/// <summary>
/// A rank that is a process: does what its standard input says, a line each, and answers each with a line. An answer
/// ends with the time (of the machine's clock, which all processes share). "abort" and "arrivals" are done
/// at once, whatever else goes on.
/// </summary>
internal static class RankProgram
{
    private static ICollective? s_collective;

    public static int Run()
    {
        var orders = new BlockingCollection<string[]>();
        var worker = new Thread(() =>
        {
            foreach (var order in orders.GetConsumingEnumerable())
                Answer(order);
        });
        worker.IsBackground = true;
        worker.Start();
        while (Console.In.ReadLine() is { } line)
        {
            if (line is "abort" or "arrivals")
                Answer([line]);
            else
                orders.Add(line.Split(' '));
        }

        return 0;
    }

    private static void Answer(string[] order)
    {
        string answer;
        var time = Stopwatch.GetTimestamp();
        try
        {
            answer = Do(order);
        }
        catch (Exception e) when (e is CollectiveException or ArgumentException)
        {
            time = Stopwatch.GetTimestamp();
            answer = $"{e.GetType().Name} {e.Message.ReplaceLineEndings(" ")}";
        }

        // One write: the reading thread may answer an abort at the same time.
        Console.Out.Write($"{answer} @{time}\n");
        Console.Out.Flush();
    }

    private static unsafe string Do(string[] order)
    {
        switch (order)
        {
            case ["join", var path, var run, var rank, var world, var milliseconds]:
                s_collective?.Dispose();
                var limit = TimeSpan.FromMilliseconds(Number(milliseconds));
                s_collective = new SharedMemoryCollective(SharedSegment.Join(new SegmentOptions
                {
                    Path = path,
                    RunId = run,
                    Rank = Number(rank),
                    WorldSize = Number(world),
                    Length = 1000,
                    StagingBytes = 4096,
                    Timeout = limit,
                    RendezvousTimeout = limit,
                }));
                break;
            case ["mpi", var socket, var run, var rank, var world, var milliseconds, var joinMilliseconds]:
                s_collective = MpiWorld.Join(MpiGang.Options(run, Number(rank), Number(world), TimeSpan.FromMilliseconds(Number(milliseconds)), TimeSpan.FromMilliseconds(Number(joinMilliseconds))), new UnixRendezvous(socket, Number(rank)));
                break;
            case ["test", var name, var board, .. var arguments]:
                return MpiTests.RunInside(s_collective!, name, board, [.. arguments.Select(Number)]);
            case ["abort"]:
                s_collective!.Abort();
                break;
            case ["loop"]:
                while (true)
                {
                    foreach (var operation in Operations)
                        operation(s_collective!);
                }

            case ["step", var index]:
                Operations[Number(index)](s_collective!);
                break;
            case ["arrivals"]:
                return $"{Volatile.Read(ref ((SharedMemoryCollective)s_collective!).Segment.Slot(s_collective!.Rank)->Arrivals)}";
        }

        return "ok";
    }

    /// <summary>One of each, in more than one piece.</summary>
    public static Action<ICollective>[] Operations { get; } =
    [
        c => c.Barrier(),
        c => Check(c, new float[3001], (c, v) => c.AllReduce(v), c.WorldSize),
        c => Check(c, new float[3001], (c, v) => c.ReduceScatter(v.ToArray(), v.AsSpan(0, Mine(c, v))), c.WorldSize),
        c => Check(c, new float[3001], (c, v) => c.AllGather(v.AsSpan(0, Mine(c, v)).ToArray(), v), 1),
        c => Check(c, new float[3001], (c, v) => c.Broadcast(v, c.WorldSize - 1), 1),
    ];

    private static int Mine(ICollective c, float[] values) => (int)Shard.Of(values.Length, c.Rank, c.WorldSize).Count;

    private static void Check(ICollective c, float[] values, Action<ICollective, float[]> operation, float expected)
    {
        Array.Fill(values, 1);
        operation(c, values);
        if (values[0] != expected)
            throw new ArgumentException($"Rank {c.Rank} has {values[0]}, expected {expected}.");
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);
}
