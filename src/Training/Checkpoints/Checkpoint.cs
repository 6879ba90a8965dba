using MLDistributed.Training.Loop;
using MLDistributed.Training.Models;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// Writes and reads a job's state between epochs. The file knows nothing of ranks: parameters, optimizer state and
/// running statistics are whole, so that any number of ranks can go on from it.
/// </summary>
internal static unsafe class Checkpoint
{
    public const string Format = "mldist-checkpoint/1";

    private const string Parameter = "parameters.";
    private const string Buffer = "buffers.";
    private const string Optimizer = "optimizer.";
    private const string BestParameters = "best.parameters";
    private const string BestBuffers = "best.buffers";

    /// <summary>Writes a checkpoint on rank 0; the others bring their optimizer state. All ranks call it.</summary>
    /// <returns>Why there is no file, on rank 0; null when there is.</returns>
    public static Exception? Write(string path, RankState state, TrainingPosition position)
    {
        SafetensorsWriter? writer = null;
        Exception? failure = null;
        if (state.IsFirst)
            Try(() => writer = new SafetensorsWriter(path, Tensors(state), position.ToMetadata()));
        using (writer)
        {
            Try(() =>
            {
                writer?.Write(state.Parameters, state.Layout.ParameterLength);
                writer?.Write(state.Model.Buffers);
            });
            // All ranks meet here, also when the disk is full: what cannot be written is left out.
            foreach (var (_, values) in state.Strategy.Optimizer.State)
            {
                var all = state.Strategy.BeginGather(values);
                Try(() => writer?.Write(all, state.Layout.ParameterLength));
                state.Strategy.EndGather();
            }

            Try(() =>
            {
                if (state.Best is { } best)
                {
                    writer?.Write(best.Parameters);
                    writer?.Write(best.Buffers);
                }

                writer?.Complete();
            });
        }

        return failure;

        void Try(Action write)
        {
            try
            {
                if (failure is null)
                    write();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                failure = e;
            }
        }
    }

    /// <summary>What a checkpoint takes on the disk.</summary>
    public static long Bytes(RankState state) => Tensors(state).Sum(t => t.Shape.Aggregate((long)sizeof(float), (a, b) => a * b));

    /// <summary>Reads a checkpoint: rank 0 the parameters, every rank its slice of the optimizer state. The caller lets the ranks meet afterwards.</summary>
    /// <exception cref="FormatException">The file is not this job's checkpoint.</exception>
    public static TrainingPosition Read(string path, RankState state)
    {
        using var reader = new SafetensorsReader(path);
        if (reader.Metadata.GetValueOrDefault("format") != Format)
            throw Mismatch(path, $"format \"{reader.Metadata.GetValueOrDefault("format")}\", expected \"{Format}\"");
        foreach (var tensor in state.Layout.Parameters)
        {
            if (!reader.Has(Parameter + tensor.Name) || !reader.Shape(Parameter + tensor.Name).SequenceEqual(tensor.Shape))
                throw Mismatch(path, $"no parameter \"{tensor.Name}\" of shape [{string.Join(", ", tensor.Shape)}]");
            if (state.IsFirstOfMemory)
                reader.Read(Parameter + tensor.Name, 0, new Span<float>(state.Parameters + tensor.Start, checked((int)tensor.Length)));
        }

        foreach (var tensor in state.Layout.Buffers)
            reader.Read(Buffer + tensor.Name, 0, state.Model.Buffers.AsSpan((int)tensor.Start, (int)tensor.Length));
        foreach (var (name, values) in state.Strategy.Optimizer.State)
        {
            if (!reader.Has(Optimizer + name))
                throw Mismatch(path, $"no optimizer state \"{name}\"");
            reader.Read(Optimizer + name, state.Strategy.Slice.Start, values);
        }

        if (state.IsFirst && reader.Has(BestParameters))
            state.Best = new ModelWeights(reader.Read(BestParameters), state.Layout.BufferLength > 0 ? reader.Read(BestBuffers) : []);
        var position = TrainingPosition.Parse(reader.Metadata);
        state.Strategy.StepsTaken = position.Step;
        return position;
    }

    private static List<(string Name, long[] Shape)> Tensors(RankState state)
    {
        var tensors = new List<(string, long[])>();
        tensors.AddRange(state.Layout.Parameters.Select(p => (Parameter + p.Name, p.Shape)));
        tensors.AddRange(state.Layout.Buffers.Select(b => (Buffer + b.Name, b.Shape)));
        tensors.AddRange(state.Strategy.Optimizer.State.Select(s => (Optimizer + s.Name, new[] { state.Layout.ParameterLength })));
        if (state.Best is { } best)
        {
            tensors.Add((BestParameters, [best.Parameters.LongLength]));
            tensors.Add((BestBuffers, [best.Buffers.LongLength]));
        }

        return tensors;
    }

    private static FormatException Mismatch(string path, string what) =>
        new($"Checkpoint \"{path}\" has {what}. Resume with the job that wrote it, or start it from the beginning.");
}
