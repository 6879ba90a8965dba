using System.Diagnostics;
using System.Globalization;
using Collectives.Tests.Processes;
using MLDistributed.Collectives.Mpi;
using MLDistributed.Tests.Shared;

namespace Collectives.Tests.Mpi;

/// <summary>The rank processes of a test, each on a host of its own.</summary>
internal sealed class MpiGang : IDisposable
{
    private readonly int _worldSize;
    private readonly TimeSpan _limit;
    private readonly TimeSpan _joinLimit;
    private readonly UnixRendezvousServer _rendezvous;
    private readonly RankProcess[] _ranks;

    public MpiGang(NetworkHosts hosts, int worldSize, TimeSpan limit, TimeSpan joinLimit, bool tellsOfDeath = false)
    {
        (_worldSize, _limit, _joinLimit) = (worldSize, limit, joinLimit);
        _rendezvous = new UnixRendezvousServer(worldSize, tellsOfDeath);
        _ranks = [.. Enumerable.Range(0, worldSize).Select(host => RankProcess.Start(hosts.On(host, Environment.ProcessPath!, "rank")))];
    }

    public RankProcess this[int rank] => _ranks[rank];

    /// <summary>Short pieces, so that short values go all ways.</summary>
    public static MpiOptions Options(string run, int rank, int worldSize, TimeSpan limit, TimeSpan joinLimit) => new()
    {
        RunId = run,
        Rank = rank,
        WorldSize = worldSize,
        NetworkInterface = NetworkHosts.Interface,
        Timeout = limit,
        RendezvousTimeout = joinLimit,
        PieceBytes = 8 << 10,
        InlineBytes = 1 << 10,
    };

    /// <summary>Why there are none here: the test is skipped.</summary>
    public static void SkipWhereUnavailable()
    {
        if ((MpiWorld.Unavailable() ?? NetworkHosts.Unavailable()) is { } reason)
            Assert.Inconclusive(reason);
    }

    public void Join(int rank) => this[rank].Send(string.Create(CultureInfo.InvariantCulture, $"mpi {_rendezvous.Path} run-1 {rank} {_worldSize} {(int)_limit.TotalMilliseconds} {(int)_joinLimit.TotalMilliseconds}"));

    public async Task JoinAllAsync()
    {
        for (var rank = 0; rank < _worldSize; rank++)
            Join(rank);
        foreach (var rank in _ranks)
            await rank.ShouldAnswerAsync("ok");
    }

    public void SendAll(string order)
    {
        foreach (var rank in _ranks)
            rank.Send(order);
    }

    public async Task<(string Text, TimeSpan Time)[]> AnswersAsync(params int[] ranks) => await Task.WhenAll(ranks.Select(r => this[r].AnswerAsync()));

    public void Stop(int rank)
    {
        using var kill = Process.Start("kill", ["-STOP", this[rank].Id.ToString(CultureInfo.InvariantCulture)]);
        kill.WaitForExit();
    }

    public void Dispose()
    {
        foreach (var rank in _ranks)
            rank.Dispose();
        _rendezvous.Dispose();
    }
}
