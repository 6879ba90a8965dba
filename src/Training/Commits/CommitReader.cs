using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Commits;

/// <summary>Reads what <see cref="CommitWriter"/> wrote, on any number of ranks.</summary>
internal static unsafe class CommitReader
{
    /// <summary>Floats that are copied at once.</summary>
    public const long ChunkLength = 1 << 22;

    /// <summary>Reads a state: the first rank here the parameters, every rank its slice of the optimizer state. The caller lets the ranks meet afterwards.</summary>
    public static TrainingPosition Read(CommitFile file, Commit commit, ITrainedState state)
    {
        var layout = new CommitLayout(state);
        var slice = state.Slice;
        if (state.IsFirstOfMemory)
            Read(layout.PartAt(commit.Half, 0, default), state.Parameters, state.Layout.ParameterLength);
        for (var part = 1; part < layout.Parts; part++)
            Read(layout.PartAt(commit.Half, part, slice), state.Segment.State(part - 1) + slice.Start, slice.Count);
        ReadArray(layout.BuffersAt(commit.Half), state.Model.Buffers);
        if (state.IsFirstOfMemory && commit.BestPlace >= 0)
        {
            state.Best = new ModelWeights(new float[state.Layout.ParameterLength], new float[state.Layout.BufferLength]);
            ReadArray(layout.BestAt(commit.BestPlace), state.Best.Parameters);
            ReadArray(layout.BestAt(commit.BestPlace) + state.Best.Parameters.LongLength * sizeof(float), state.Best.Buffers);
        }

        var position = TrainingPosition.Parse(commit.Metadata);
        state.Strategy.StepsTaken = position.Step;
        return position;

        void ReadArray(long at, float[] values)
        {
            fixed (float* start = values)
                Read(at, start, values.LongLength);
        }

        void Read(long at, float* values, long count)
        {
            for (var done = 0L; done < count; done += ChunkLength)
                file.Read(at + done * sizeof(float), new Span<byte>(values + done, (int)Math.Min(ChunkLength, count - done) * sizeof(float)));
        }
    }
}
