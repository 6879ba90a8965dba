using System.Runtime.InteropServices;
using System.Text;
using MLDistributed.Collectives;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Commits;

/// <summary>Gives the state that one host has in its agent's memory to all hosts, over the network of the ranks: some may be new, or have an older one.</summary>
internal sealed unsafe class CommitFeed
{
    // 1 MiB: so slow is no network that a piece takes the ranks' patience.
    private const int ChunkLength = 1 << 18;

    private readonly CommitFile? _file;
    private readonly ICollective _ranks;
    private readonly int _source;
    private readonly float[] _unused;
    private readonly Action _onPiece;

    private CommitFeed(CommitFile? file, ICollective ranks, int source, bool hasMemory, Action onPiece)
    {
        (_file, _ranks, _source, _onPiece) = (ranks.Rank == source ? file : null, ranks, source, onPiece);
        _unused = hasMemory ? [] : new float[ChunkLength];
    }

    /// <summary>All ranks call it, and meet afterwards. The first of each memory fills it.</summary>
    /// <param name="file">The source's memory; others' is not looked at.</param>
    /// <param name="commit">What is in it.</param>
    /// <param name="state">This rank's.</param>
    /// <param name="ranks">All.</param>
    /// <param name="source">The rank that has the state.</param>
    /// <param name="onPiece">Called after each of its pieces, of 1 MiB.</param>
    public static TrainingPosition Read(CommitFile? file, Commit? commit, ITrainedState state, ICollective ranks, int source, Action onPiece)
    {
        var feed = new CommitFeed(file, ranks, source, state.IsFirstOfMemory, onPiece);
        var own = ranks.Rank == source ? commit : null;
        var (half, best, text) = feed.Share(own);
        var layout = new CommitLayout(state);
        var length = state.Layout.ParameterLength;
        for (var part = 0; part < layout.Parts; part++)
            feed.Share(layout.PartAt(half, part, default), !state.IsFirstOfMemory ? null : part == 0 ? state.Parameters : state.Segment.State(part - 1), length);
        feed.Share(layout.BuffersAt(half), state.Model.Buffers);
        if (best >= 0)
        {
            var weights = state.IsFirstOfMemory ? new ModelWeights(new float[length], new float[state.Layout.BufferLength]) : null;
            feed.Share(layout.BestAt(best), weights?.Parameters, length);
            feed.Share(layout.BestAt(best) + length * sizeof(float), weights?.Buffers, state.Layout.BufferLength);
            state.Best = weights;
        }

        var position = TrainingPosition.Parse(text);
        state.Strategy.StepsTaken = position.Step;
        return position;
    }

    // Where the state is in the source's memory, and what it is.
    private (int Half, int BestPlace, string Metadata) Share(Commit? own)
    {
        var metadata = own is null ? [] : Encoding.UTF8.GetBytes(own.Metadata);
        var sizes = new double[] { own?.Half ?? 0, own?.BestPlace ?? 0, metadata.Length };
        _ranks.Broadcast(sizes, _source);
        var (half, best, bytes) = ((int)sizes[0], (int)sizes[1], (int)sizes[2]);
        var padded = new float[(bytes + sizeof(float) - 1) / sizeof(float)];
        metadata.CopyTo(MemoryMarshal.AsBytes(padded.AsSpan()));
        for (var done = 0; done < padded.Length; done += ChunkLength)
            _ranks.Broadcast(padded.AsSpan(done, Math.Min(ChunkLength, padded.Length - done)), _source);
        return (half, best, Encoding.UTF8.GetString(MemoryMarshal.AsBytes(padded.AsSpan())[..bytes]));
    }

    private void Share(long at, float[] values) => Share(at, values, values.LongLength);

    private void Share(long at, float[]? values, long count)
    {
        fixed (float* start = values)
            Share(at, start, count);
    }

    // Null: this rank has no use for it, and hands it on.
    private void Share(long at, float* values, long count)
    {
        for (var done = 0L; done < count; done += ChunkLength)
        {
            var length = (int)Math.Min(ChunkLength, count - done);
            var piece = values is null ? _unused.AsSpan(0, length) : new Span<float>(values + done, length);
            _file?.Read(at + done * sizeof(float), MemoryMarshal.AsBytes(piece));
            _ranks.Broadcast(piece, _source);
            _onPiece();
        }
    }
}
