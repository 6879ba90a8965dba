using MLDistributed.Collectives;
using MLDistributed.Training.Optimization;

namespace MLDistributed.Training.Checkpoints;

/// <summary>
/// Where everything lies in a checkpoint file, so that every rank can write its own slices: parameters, each state of the
/// optimizer, running statistics, and the best weights so far. The file knows nothing of ranks.
/// </summary>
internal sealed class CheckpointLayout
{
    public const string Format = "mldist-checkpoint/3";

    /// <summary>The first tensor: 8 bytes, the checksum of all before it.</summary>
    public const string Header = "header";
    public const string Parameter = "parameters.";
    public const string Buffer = "buffers.";
    public const string Optimizer = "optimizer.";
    public const string BestParameters = "best.parameters";
    public const string BestBuffers = "best.buffers";

    // The header comes last, when the checksums are known, and its length depends on them: room for it is kept.
    private const int HeaderBytes = 16 << 10;
    private const int HeaderBytesATensor = 512;
    private const int HeaderBytesAnEpoch = 192;
    private const int HeaderBytesAMetric = 48; // of the module's own: two numbers, and what says that they follow, beside its name; in base64
    private const int HeaderBytesARank = 512;

    private readonly ITrainedState _state;
    private readonly IReadOnlyList<string> _optimizerStates;

    public CheckpointLayout(ITrainedState state, int epochs)
    {
        _state = state;
        _optimizerStates = FlatOptimizer.StateNames(state.Spec.Optimizer);
        var tensors = state.Layout.Parameters.Count + state.Layout.Buffers.Count + _optimizerStates.Count + 3;
        var epoch = HeaderBytesAnEpoch + state.Model.OwnMetrics.Sum(name => HeaderBytesAMetric + ((name.Length + 3) / 4 * 8)); // what is behind it is aligned to 8
        HeaderSize = checked(HeaderBytes + tensors * HeaderBytesATensor + epochs * epoch + state.Segment.WorldSize * HeaderBytesARank);
    }

    public int HeaderSize { get; }

    private long Length => _state.Layout.ParameterLength;

    /// <summary>Where the running statistics begin; the best weights follow.</summary>
    public long Buffers => PartAt(1 + _optimizerStates.Count, default);

    /// <summary>Where a slice of the parameters (part 0) or of a state of the optimizer (parts from 1) begins.</summary>
    public long PartAt(int part, Shard slice) => HeaderSize + sizeof(ulong) + (part * Length + slice.Start) * sizeof(float);

    /// <summary>All tensors in their order; the best weights when this rank has some.</summary>
    public IReadOnlyList<(string Name, long[] Shape)> Tensors()
    {
        var tensors = new List<(string, long[])> { (Header, [sizeof(ulong) / sizeof(float)]) };
        tensors.AddRange(_state.Layout.Parameters.Select(p => (Parameter + p.Name, p.Shape)));
        tensors.AddRange(_optimizerStates.Select(name => (Optimizer + name, new[] { Length })));
        tensors.AddRange(_state.Layout.Buffers.Select(b => (Buffer + b.Name, b.Shape)));
        if (_state.Best is { } best)
        {
            tensors.Add((BestParameters, [best.Parameters.LongLength]));
            tensors.Add((BestBuffers, [best.Buffers.LongLength]));
        }

        return tensors;
    }
}
