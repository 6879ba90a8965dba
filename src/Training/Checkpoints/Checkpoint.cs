using System.Globalization;
using MLDistributed.Training.Models;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Weights;

namespace MLDistributed.Training.Checkpoints;

/// <summary>Reads what <see cref="CheckpointWriter"/> wrote, on any number of ranks.</summary>
internal static unsafe class Checkpoint
{
    /// <summary>The metadata with a checksum for each part that a rank wrote.</summary>
    public const string Checksums = "checksums";

    /// <summary>Reads a checkpoint: rank 0 the parameters, every rank its slice of the optimizer state. The caller lets the ranks meet afterwards.</summary>
    /// <exception cref="DamagedCheckpointException">The file is not this job's checkpoint, or it is damaged.</exception>
    public static TrainingPosition Read(string path, ITrainedState state)
    {
        try
        {
            return ReadFile(path, state);
        }
        catch (Exception e) when (e is not (DamagedCheckpointException or OutOfMemoryException))
        {
            // A damaged header has many ways to fail.
            throw new DamagedCheckpointException($"Checkpoint \"{path}\" cannot be read ({e.Message.TrimEnd('.')}), expected a whole one of this job.", e);
        }
    }

    private static TrainingPosition ReadFile(string path, ITrainedState state)
    {
        using var reader = new SafetensorsReader(path);
        if (reader.Metadata.GetValueOrDefault("format") != CheckpointLayout.Format)
            throw Mismatch(path, $"format \"{reader.Metadata.GetValueOrDefault("format")}\", expected \"{CheckpointLayout.Format}\"");
        VerifyHeader(path, reader);
        // One rank looks at all: the others only read their slices of the same file.
        if (state.IsFirst)
            Verify(path, reader);
        foreach (var tensor in state.Layout.Parameters)
        {
            var name = CheckpointLayout.Parameter + tensor.Name;
            if (!reader.Has(name) || !reader.Shape(name).SequenceEqual(tensor.Shape))
                throw Mismatch(path, $"no parameter \"{tensor.Name}\" of shape [{string.Join(", ", tensor.Shape)}]");
            if (state.IsFirstOfMemory)
                reader.Read(name, 0, new Span<float>(state.Parameters + tensor.Start, checked((int)tensor.Length)));
        }

        foreach (var tensor in state.Layout.Buffers)
            reader.Read(CheckpointLayout.Buffer + tensor.Name, 0, state.Model.Buffers.AsSpan((int)tensor.Start, (int)tensor.Length));
        var slice = state.Slice;
        foreach (var (index, name) in FlatOptimizer.StateNames(state.Spec.Optimizer).Index())
        {
            if (!reader.Has(CheckpointLayout.Optimizer + name))
                throw Mismatch(path, $"no optimizer state \"{name}\"");
            reader.Read(CheckpointLayout.Optimizer + name, slice.Start, new Span<float>(state.Segment.State(index) + slice.Start, checked((int)slice.Count)));
        }

        if (state.IsFirstOfMemory && reader.Has(CheckpointLayout.BestParameters))
            state.Best = new ModelWeights(reader.Read(CheckpointLayout.BestParameters), state.Layout.BufferLength > 0 ? reader.Read(CheckpointLayout.BestBuffers) : []);
        var position = TrainingPosition.Parse(reader.Metadata);
        state.Strategy.StepsTaken = position.Step;
        return position;
    }

    private static void VerifyHeader(string path, SafetensorsReader reader)
    {
        var expected = 0UL;
        reader.Read(CheckpointLayout.Header, 0, new Span<float>(&expected, sizeof(ulong) / sizeof(float)));
        var found = reader.Checksum(0, reader.DataStart);
        if (found != expected)
            throw Mismatch(path, $"a header with checksum {found:x16}, expected {expected:x16}: it is damaged");
    }

    private static void Verify(string path, SafetensorsReader reader)
    {
        foreach (var text in reader.Metadata.GetValueOrDefault(Checksums, "").Split(';', StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = text.Split(':');
            var (at, length) = (Number(parts[0]), Number(parts[1]));
            var found = reader.Checksum(at, length);
            if (found != ulong.Parse(parts[2], NumberStyles.HexNumber, CultureInfo.InvariantCulture))
                throw Mismatch(path, $"checksum {found:x16} of {length} bytes at {at}, expected {parts[2]}: it is damaged");
        }

        static long Number(string text) => long.Parse(text, CultureInfo.InvariantCulture);
    }

    private static DamagedCheckpointException Mismatch(string path, string what) => new($"Checkpoint \"{path}\" has {what}.");
}
