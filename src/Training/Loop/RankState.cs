using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Optimization;
using MLDistributed.Training.Parallel;
using TorchSharp;
using static TorchSharp.torch;

namespace MLDistributed.Training.Loop;

/// <summary>What lives on a rank while it trains.</summary>
internal sealed unsafe class RankState : ITrainedState, IDisposable
{
    private readonly DatasetFile _training;
    private readonly BatchFeed _trainingFeed;
    private readonly PrefetchedFeed? _prefetched;
    private readonly BatchFeed _validationFeed;
    private readonly Func<long, long> _validationRows;
    private (Func<long, long>? Given, Func<long, long> Ordered) _trainingRows;

    public RankState(RankStart start, IModuleSource source, IParallelStrategy parallel, IFlatTensors tensors, DatasetFile training, DatasetFile? validation, bool prefetch, ICudaRuntime? cuda)
    {
        (Start, Layout, Collective, Segment, _training) = (start, source.Layout, parallel.Collective, parallel.Memory, training);
        var spec = start.Spec;
        var groups = spec.Task == MlTask.Ranking ? new RowGroups(training) : null;
        var validationGroups = groups is null || validation is null ? groups : new RowGroups(validation);
        Order = new RowOrder(spec.Seed, groups?.Count ?? training.RowCount, spec.Data.ValidationFraction);
        ValidationCount = validation is null ? Order.ValidationCount : validationGroups?.Count ?? validation.RowCount;
        BatchSize = (int)Math.Min(groups?.GroupsOf(spec.GlobalBatchSize) ?? spec.GlobalBatchSize, Math.Max(Order.TrainingCount, ValidationCount));
        StepsPerEpoch = (Order.TrainingCount + BatchSize - 1) / BatchSize;
        Parameters = Segment.Parameters;
        IsFirstOfMemory = Segment.Rank == 0;
        Tensors = tensors;
        Split = spec.BitExact is { } exact ? BatchSplit.OfParts(exact.MicroBatches, start.Rank, start.WorldSize) : BatchSplit.OverRanks(BatchSize, spec.MaxMicroBatchSize, start.Rank, start.WorldSize);
        var maxRows = Split.MaxRows(BatchSize);
        if (groups is not null)
            maxRows = checked((int)Math.Max(groups.MostRows(maxRows), validationGroups!.MostRows(maxRows)));
        Strategy = parallel.CreateUpdate(Layout, Split);
        // Gradients that do not stay on their device are where the ranks meet after the last backward only.
        Model = source.Create(Tensors.Parameters, Tensors.Gradients, maxRows, parallel.Statistics, Tensors.IsMirrored && !Tensors.StaysOnDevice ? null : Strategy.GradientsReady);
        var device = Tensors.Parameters.device;
        _trainingFeed = Feed(training, groups, spec.Data.WeightScale);
        _prefetched = prefetch ? new PrefetchedFeed(() => Feed(training, groups, spec.Data.WeightScale)) : null;
        _validationRows = LengthOrder.Of(spec, validation ?? training, validation is null ? Order.ValidationRow : index => index, BatchSize, ValidationCount);
        _validationFeed = validation is null ? _trainingFeed : Feed(validation, validationGroups, spec.Data.ValidationWeightScale);

        BatchFeed Feed(DatasetFile file, RowGroups? groupsOfFile, double weightScale) =>
            new(file, spec, weightScale, maxRows, device, cuda is null ? null : hosts => BatchTransfer.Create(cuda, device, hosts), groupsOfFile);
    }

    public RankStart Start { get; }

    public JobSpec Spec => Start.Spec;

    public bool IsFirst => Start.Rank == 0;

    /// <summary>Whether this rank fills the parameters' memory: the first of those that share it.</summary>
    public bool IsFirstOfMemory { get; }

    /// <summary>Shared by the ranks of a host; a rank's own where ranks meet over a transport.</summary>
    public SharedSegment Segment { get; }

    public FlatLayout Layout { get; }

    public ICollective Collective { get; }

    /// <summary>That of the training set's rows; in ranking of its groups, which all numbers of rows here count then.</summary>
    public RowOrder Order { get; }

    public BatchSplit Split { get; }

    public ITrainedModule Model { get; }

    public IGradientStrategy Strategy { get; }

    /// <summary>This rank's part of a checkpoint.</summary>
    public Shard Slice => Strategy.SliceOf(Segment.Rank);

    /// <summary>The session's, which disposes them.</summary>
    public IFlatTensors Tensors { get; }

    public float* Parameters { get; }

    /// <summary>Rows a step, over all ranks: what was asked for, and at most all rows of the larger set.</summary>
    public int BatchSize { get; }

    public long StepsPerEpoch { get; }

    public long TotalSteps => StepsPerEpoch * Spec.Epochs;

    public long ValidationCount { get; }

    /// <summary>The best weights so far, of the first rank of each memory, as any host may be the one that is left; null on the others and before the first validation.</summary>
    public ModelWeights? Best { get; set; }

    public void ToHost() => Tensors.ToHost();

    /// <summary>Rows, or groups, of a step's global batch, the step counted from 0 within the epoch.</summary>
    public int GlobalRows(long step) => (int)Math.Min(BatchSize, Order.TrainingCount - step * BatchSize);

    /// <summary>Loads a part of a step's global batch, the step counted from 0 within the epoch.</summary>
    public Batch LoadTraining(int epoch, Func<long, long> rowAt, long step, int part)
    {
        // The same for a whole epoch: by it a batch that was asked for ahead is known again.
        if (_trainingRows.Given != rowAt)
            _trainingRows = (rowAt, LengthOrder.Of(Spec, _training, rowAt, BatchSize, Order.TrainingCount));
        var isLastPart = part + 1 == Split.First + Split.Count;
        return _prefetched is null ? _trainingFeed.Load(Request(step, part))
            : _prefetched.Load(Request(step, part), !isLastPart ? Request(step, part + 1) : step + 1 < StepsPerEpoch ? Request(step + 1, Split.First) : null);

        BatchRequest Request(long s, int p) => new(_trainingRows.Ordered, s * BatchSize, Split.Rows(p, GlobalRows(s)), GlobalRows(s), epoch, Order.TrainingCount);
    }

    /// <summary>Loads a part of the validation rows from a position on.</summary>
    public Batch LoadValidation(long start, int part)
    {
        var globalRows = (int)Math.Min(BatchSize, ValidationCount - start);
        return _validationFeed.Load(new BatchRequest(_validationRows, start, Split.Rows(part, globalRows), globalRows));
    }

    /// <summary>The weights that the job is about: their average, where one is kept. All ranks of a host call it together.</summary>
    /// <returns>Those, on the first rank of each memory; null on the others.</returns>
    public ModelWeights? CopyWeights()
    {
        Tensors.WeightsToHost();
        if (!IsFirstOfMemory)
            return null;
        var average = FlatOptimizer.Average(Spec.Optimizer, Segment);
        return ModelWeights.Copy(average is null ? Parameters : average, Layout.ParameterLength, Model.Buffers);
    }

    /// <summary>
    /// Puts the averages where the parameters are, or back: all ranks meet, when all have read what is there. Nothing where no
    /// average is kept.
    /// </summary>
    public void SwapAverage()
    {
        if (Spec.Optimizer.AveragingDecay == 0)
            return;
        Tensors.SwapAverage(Slice);
        Collective.Barrier();
        Tensors.PullParameters();
    }

    public void Dispose()
    {
        if (_validationFeed != _trainingFeed)
            _validationFeed.Dispose();
        _trainingFeed.Dispose();
        _prefetched?.Dispose();
        Strategy.Dispose();
        Model.Dispose();
    }
}
