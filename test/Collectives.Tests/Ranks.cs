using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests;

/// <summary>Runs ranks as threads, each with a mapping of its own.</summary>
internal static class Ranks
{
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(30);

    public static string NewPath() =>
        Path.Combine(Directory.Exists("/dev/shm") ? "/dev/shm" : Path.GetTempPath(), "mldist-test-" + Guid.NewGuid().ToString("N"));

    /// <summary>What each rank threw; null where it ended well.</summary>
    public static Exception?[] Run(int worldSize, Action<int> rank, TimeSpan? bound = null)
    {
        var failures = new Exception?[worldSize];
        var threads = Enumerable.Range(0, worldSize).Select(r => new Thread(() =>
        {
            try
            {
                rank(r);
            }
            catch (Exception e)
            {
                failures[r] = e;
            }
        })).ToArray();
        foreach (var thread in threads)
            thread.Start();
        foreach (var thread in threads)
            Assert.IsTrue(thread.Join(bound ?? Bound), "A rank hangs.");
        return failures;
    }

    public static Exception?[] RunCollective(int worldSize, Action<ICollective> body, Func<SegmentOptions, SegmentOptions>? configure = null, TimeSpan? bound = null)
    {
        var path = NewPath();
        var failures = Run(worldSize, rank =>
        {
            var options = new SegmentOptions { Path = path, Rank = rank, WorldSize = worldSize, Timeout = bound ?? Bound, RendezvousTimeout = Bound, StagingBytes = 4096 };
            using var collective = new SharedMemoryCollective(SharedSegment.Join(configure?.Invoke(options) ?? options));
            body(collective);
        }, bound);
        Assert.IsFalse(File.Exists(path), "The segment was left behind.");
        return failures;
    }

    public static void ShouldSucceed(this Exception?[] failures)
    {
        foreach (var failure in failures)
            Assert.IsNull(failure, failure?.ToString());
    }
}
