using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using MLDistributed.Collectives.SharedMemory;

namespace Collectives.Tests.Processes;

/// <summary>The rank processes of a test and the segment they share.</summary>
internal sealed class RankGang(int worldSize, TimeSpan limit) : IDisposable
{
    private readonly RankProcess[] _ranks = [.. Enumerable.Range(0, worldSize).Select(_ => RankProcess.Start())];

    private bool _haveMet;

    public string Path { get; private set; } = Ranks.NewPath();

    public RankProcess this[int rank] => _ranks[rank];

    public void Join(int rank, string run = "run") => this[rank].Send($"join {Path} {run} {rank} {worldSize} {(int)limit.TotalMilliseconds}");

    /// <summary>All ranks have met, in a segment of a new name.</summary>
    public async Task JoinAllAsync()
    {
        Path = Ranks.NewPath();
        _haveMet = false;
        for (var rank = 0; rank < worldSize; rank++)
            Join(rank);
        foreach (var rank in _ranks)
            await rank.ShouldAnswerAsync("ok");
        _haveMet = true;
        Assert.IsFalse(File.Exists(Path), "All have met, and the segment still has a name.");
    }

    /// <summary>A rank has come to its n-th barrier, the rendezvous being the first.</summary>
    public async Task ArrivedAsync(int rank, int barrier)
    {
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(5));
        var started = Stopwatch.GetTimestamp();
        while (await ArrivalsAsync(rank) < barrier)
        {
            Assert.IsLessThan(Ranks.Bound, Stopwatch.GetElapsedTime(started), $"Rank {rank} does not come to barrier {barrier}.");
            await timer.WaitForNextTickAsync();
        }
    }

    // In the rendezvous the segment has a name and the rank's only thread that could tell waits.
    private async Task<int> ArrivalsAsync(int rank)
    {
        if (!_haveMet)
        {
            if (!File.Exists(Path))
                return 0;
            using var stream = new FileStream(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            var slot = new RankSlot[1];
            stream.Seek(SegmentHeader.Bytes + rank * RankSlot.Bytes, SeekOrigin.Begin);
            stream.ReadAtLeast(MemoryMarshal.AsBytes(slot.AsSpan()), RankSlot.Bytes, throwOnEndOfStream: false);
            return slot[0].Arrivals;
        }

        this[rank].Send("arrivals");
        return int.Parse((await this[rank].AnswerAsync()).Text, CultureInfo.InvariantCulture);
    }

    public void Dispose()
    {
        foreach (var rank in _ranks)
            rank.Dispose();
        File.Delete(Path);
    }
}
