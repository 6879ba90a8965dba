using System.Runtime.ExceptionServices;
using Google.Protobuf;
using MLDistributed.Collectives;
using MLDistributed.Collectives.SharedMemory;
using MLDistributed.Protocol;
using MLDistributed.Training.Checkpoints;
using MLDistributed.Training.Commits;
using MLDistributed.Training.Data;
using MLDistributed.Training.Devices;
using MLDistributed.Training.Models;
using MLDistributed.Training.Native;
using MLDistributed.Training.Native.Cuda;
using MLDistributed.Training.Parallel;
using MLDistributed.Training.Weights;
using TorchSharp;

namespace MLDistributed.Training.Loop;

/// <summary>One rank's part of one attempt, from the rendezvous to the files.</summary>
internal sealed unsafe class RankSession(RankStart start, IRankReporter reporter, TrainingEnvironment environment)
{
    private const int SmallBatchBytes = 128 << 10;
    private static readonly TimeSpan s_signInterval = TimeSpan.FromMinutes(1);

    private readonly HostPlace? _place = environment.Hosts?.Invoke(start);

    private DeviceLink? _link;
    private string _missingLink = "";

    // Constants of a user's module that begin so, as masks of attention do.
    private HashSet<string> _notFinite = [];

    private JobSpec Spec => start.Spec;

    private Topology Topology => _place?.Topology ?? Topology.OfCpus(start.WorldSize);

    private bool IsForDevices => environment.OnDevice ?? ParallelStrategy.IsForDevices(start);

    // Hosts do not sum the gradients of GPUs in their memory: without NCCL their leaders refuse.
    private bool IsOnDevice => IsForDevices && (start.WorldSize == 1 || _link is not null || _place is not null);

    // Those that share this machine's cores and memory.
    private int LocalSize => _place?.LocalSize ?? start.WorldSize;

    /// <summary>Trains. Every failure stops the other ranks too, and leaves as a <see cref="TrainingException"/>.</summary>
    public RankResult Run(CancellationToken stop)
    {
        try
        {
            stop.ThrowIfCancellationRequested();
            NativeLoading.EnsureLoaded();
            // All ranks of a host find the same.
            if (IsForDevices && start.WorldSize > 1)
                _link = DeviceLink.TryLoad(environment.Cuda, environment.Nccl, out _missingLink);
            Denormals.Flush();
            MatrixPrecision.Apply(Spec.Precision);
            torch.set_num_threads(Spec.BitExact is not null ? 1 : environment.ThreadCount ?? ThreadCount(LocalSize));
            var source = environment.Module?.Invoke(Spec) ?? ModuleSources.Of(start);
            var needs = MemoryNeeds.Of(Spec, source.Layout, LocalSize, Topology, source.FrozenBytes, IsOnDevice);
            needs.Check(environment.MemoryBytes);
            if (environment.Transport is not null)
                ParallelStrategy.CheckTransport(Spec);
            using var training = new DatasetFile(start.DatasetPath);
            using var validation = start.ValidationDatasetPath.Length == 0 ? null : new DatasetFile(start.ValidationDatasetPath);
            CheckData(training, Spec.Data.RowCount, start.DatasetPath);
            if (BatchMemory.Refusal(Spec, Math.Max(training.RowCount, validation?.RowCount ?? 0), start.WorldSize, start.Device == DeviceKind.Cuda, needs.TotalBytes, environment.MemoryBytes, LocalSize) is { } refusal)
                throw new FormatException(refusal);
            if (validation is not null)
                CheckData(validation, Spec.Data.ValidationRowCount, start.ValidationDatasetPath);
            using var parallel = Join(source.Layout.ParameterLength, stop);
            using (stop.Register(parallel.Collective.Abort))
                return Train(source, parallel, needs, training, validation, stop);
        }
        catch (Exception e)
        {
            if (stop.IsCancellationRequested)
                throw new OperationCanceledException("Training was stopped.", e, stop);
            if (NativeMessage.HasStack(e.Message))
                reporter.Log(new LogLine { Level = LogLevel.Trace, Message = e.Message });
            throw e as TrainingException ?? Failures.From(e, start.Rank);
        }
    }

    private RankResult Train(IModuleSource source, IParallelStrategy parallel, MemoryNeeds needs, DatasetFile training, DatasetFile? validation, CancellationToken stop)
    {
        var segment = parallel.Memory;
        try
        {
            Directory.CreateDirectory(start.OutputFolder);
            // Before the module's own memory is replaced by what all ranks share.
            if (segment.Rank == 0)
                source.Initialize(segment.Parameters);
            var device = RankDevice.Of(start);
            var cuda = start.Device == DeviceKind.Cuda || IsOnDevice ? TryLoadCuda() : null;
            if (cuda is not null)
                DeviceMemory.Check(start, source.Layout, IsOnDevice, LocalSize, cuda);
            if (ParallelStrategy.Remark(start, _link, _missingLink) is { } remark)
                reporter.Log(new LogLine { Level = LogLevel.Info, Message = remark });
            using var tensors = parallel.CreateTensors(device);
            // After a GPU is known to be there; unlocked before the segment is unmapped, whatever happens between.
            using var pinned = PinnedBuffers.Create(start, tensors.Staging, segment.Length * sizeof(float), environment.Cuda, reporter);
            using var state = new RankState(start, source, parallel, tensors, training, validation, environment.Prefetch ?? Prefetches(training), cuda);
            _notFinite = [.. state.Layout.Buffers.Where(b => !IsFinite(state.Model.Buffers.AsSpan((int)b.Start, (int)b.Length))).Select(b => b.Name)];
            using var commitFile = environment.Transport is null ? CommitMemory.Open(start, LocalSize, reporter) : null;
            // Before any rank may write to it.
            var newest = commitFile?.Newest();
            var choice = Choose(state, newest, CommitMemory.HasRoom(state, commitFile, newest is not null, needs, environment.MemoryBytes, reporter));
            var position = Begin(state, commitFile, newest, choice);
            var commits = new CommitWriter(state, commitFile, choice, newest, state.Collective, reporter, environment.Time);
            reporter.Started();
            new TrainingLoop(state, position, commits, reporter, environment, stop).Run();
            // While all are there, as each may have a part of them.
            var weights = state.ValidationCount > 0 ? state.Best : state.CopyWeights();
            parallel.Complete();
            return state.IsFirst ? Finish(source, state, position, weights!) : new RankResult(null, new Dictionary<string, string>());
        }
        catch (Exception e)
        {
            // While the memory is still mapped: the others must not wait for this rank.
            parallel.Collective.Abort();
            ExceptionDispatchInfo.Throw(parallel.CauseOf(e));
            throw;
        }
    }

    // Where all ranks are on one host, they see the same memory.
    private CommitChoice Choose(RankState state, Commit? newest, bool hasRoom)
    {
        var own = start.CommitStep > 0 ? Require(newest) : null;
        var offer = new CommitOffer(state.IsFirstOfMemory, hasRoom, own?.Step ?? 0, own?.Attempt ?? 0);
        if (_place is null)
            return CommitChoice.Of([offer with { SpeaksForHost = true }], speaker: 0);
        // Hosts load libtorch and the data each in its own time.
        state.Collective.Barrier(environment.StartTimeout);
        var choice = CommitChoice.Of(offer.Exchange(state.Collective), start.Rank - _place.LocalRank);
        if (state.IsFirst && choice.Step > 0)
            reporter.Log(new LogLine { Level = LogLevel.Info, Message = $"goes on from step {choice.Step}, which {(choice.IsEverywhere ? "all workers have" : $"worker \"{Topology.Hosts[Topology.HostOf(choice.Source)].Name}\" has")} in memory" });
        return choice;
    }

    private TrainingPosition Begin(RankState state, CommitFile? commits, Commit? newest, CommitChoice choice)
    {
        var position = choice.IsEverywhere ? CommitReader.Read(commits!, newest!, state)
            : choice.Step > 0 ? CommitFeed.Read(commits, newest, state, state.Collective, choice.Source, Signs(state, $"takes over the state of step {choice.Step}"))
            : start.ResumePath.Length > 0 ? Checkpoint.Read(start.ResumePath, state)
            : Start(state);
        // Rank 0 may have read gigabytes meanwhile.
        state.Collective.Barrier(environment.StartTimeout);
        state.Tensors.FromHost();
        return position;
    }

    // By which the coordinator knows that a host gets on, however slow the network is.
    private Action Signs(RankState state, string words)
    {
        var told = environment.Time.GetTimestamp();
        return () =>
        {
            if (!state.IsFirstOfMemory || environment.Time.GetElapsedTime(told) < s_signInterval)
                return;
            told = environment.Time.GetTimestamp();
            reporter.Log(new LogLine { Level = LogLevel.Trace, Message = words });
        };
    }

    private TrainingPosition Start(RankState state)
    {
        if (start.StartingModelPath.Length > 0)
            StartingWeights.Read(start.StartingModelPath, state);
        if (start.StartingWeightsPath.Length > 0)
            StartingWeights.ReadPretrained(start.StartingWeightsPath, state);
        return new TrainingPosition();
    }

    private Commit Require(Commit? newest) => newest?.Step == start.CommitStep ? newest : throw new TrainingException(new JobFailure
    {
        Kind = FailureKind.Crashed,
        Rank = start.Rank,
        Message = $"The worker's memory has the state of step {newest?.Step ?? 0}, expected that of step {start.CommitStep}. Report this as a defect of MLDistributed.",
    });

    private RankResult Finish(IModuleSource source, RankState state, TrainingPosition position, ModelWeights weights)
    {
        CheckFinite(state.Layout, weights, position);
        var files = new Dictionary<string, string>
        {
            [ArtifactName.Weights] = Path.Combine(start.OutputFolder, ArtifactName.Weights),
            [ArtifactName.Onnx] = Path.Combine(start.OutputFolder, ArtifactName.Onnx),
        };
        using (var writer = new SafetensorsWriter(files[ArtifactName.Weights], [.. state.Layout.Parameters.Concat(state.Layout.Buffers).Select(t => (t.Name, t.Shape))]))
        {
            writer.Write(weights.Parameters);
            writer.Write(weights.Buffers);
            writer.Complete();
        }

        using (var onnx = File.Create(files[ArtifactName.Onnx]))
            WriteOnnx(source, weights.ByName(state.Layout)).WriteTo(onnx);
        return new RankResult(Result(position), files);
    }

    private Protocol.Onnx.ModelProto WriteOnnx(IModuleSource source, IReadOnlyDictionary<string, float[]> tensors) =>
        environment.WriteOnnx?.Invoke(Spec, tensors) ?? source.WriteOnnx(Spec, tensors);

    // The loss is looked at before each update: what the last one did shows here alone.
    private void CheckFinite(FlatLayout layout, ModelWeights weights, TrainingPosition position)
    {
        foreach (var (name, values) in weights.ByName(layout))
        {
            var at = values.AsSpan().IndexOfAnyExceptInRange(float.MinValue, float.MaxValue);
            if (at < 0 || _notFinite.Contains(name))
                continue;
            throw new TrainingException(new JobFailure
            {
                Kind = FailureKind.Training,
                Rank = start.Rank,
                Step = position.Step,
                Message = $"Weights \"{name}\" hold {values[at]} at element {at} after the last step, {position.Step}, with learning rate {Spec.Optimizer.LearningRate:G4}, expected finite numbers. " +
                    "Lower the learning rate, or add gradient clipping.",
            });
        }
    }

    private static bool IsFinite(ReadOnlySpan<float> values) => !values.ContainsAnyExceptInRange(float.MinValue, float.MaxValue);

    private JobResult Result(TrainingPosition position)
    {
        var result = new JobResult
        {
            WorldSize = start.WorldSize,
            Steps = position.Step,
            Epochs = position.Epoch,
            BestEpoch = position.BestEpoch,
            TrainingSeconds = position.Seconds,
            History = { position.History },
        };
        if (position.History.Find(e => e.Epoch == position.BestEpoch) is { } best)
        {
            result.TrainingLoss = best.TrainingLoss;
            if (best.HasValidationLoss)
                result.ValidationLoss = best.ValidationLoss;
        }

        return result;
    }

    private IParallelStrategy Join(long length, CancellationToken stop)
    {
        var ofHost = Timed(ParallelStrategy.Segment(start, _place?.LocalRank ?? start.Rank, LocalSize, Topology, length));
        if (IsOnDevice && environment.Transport is null)
            return new OnDevice(Spec, ofHost with { GradientBuffers = 0 }, new DeviceRank(start.DeviceIndex, _link, _missingLink, environment.DeviceBucketLength), _place, stop);
        if (_place is not null)
            return new Hybrid(Spec, ofHost, _place, stop);
        if (environment.Transport is null)
            return new SharedHost(Spec, ofHost, environment.Profile, stop);
        var alone = ParallelStrategy.Segment(start, rank: 0, worldSize: 1, Topology, length);
        return new Transported(Spec, Timed(alone with { Path = $"{alone.Path}-{start.Rank}" }), () => environment.Transport(start), stop);
    }

    // Where it is nowhere, PinnedBuffers says so, and libtorch copies.
    private ICudaRuntime? TryLoadCuda()
    {
        try
        {
            return environment.Cuda();
        }
        catch (Exception e) when (e is DllNotFoundException or EntryPointNotFoundException or BadImageFormatException)
        {
            return null;
        }
    }

    private SegmentOptions Timed(SegmentOptions options) => options with { RendezvousTimeout = environment.StartTimeout, Timeout = environment.PeerTimeout };

    private void CheckData(DatasetFile file, long expectedRows, string path)
    {
        var inputs = Spec.Module.Kind!.InputSize;
        if (file.FeatureSize != inputs)
            throw new FormatException($"Dataset \"{path}\" has {file.FeatureSize} features a row, expected {inputs}, the input size of the job's module. Submit the job with the data it was made for.");
        if (Spec.Module.Kind!.Element == FeatureElement.UInt8 && file.Element != FeatureElement.UInt8)
            throw new FormatException($"Dataset \"{path}\" has features of {file.Element}, expected bytes, which the job's module takes. Submit the job with the data it was made for.");
        if (Spec.Module.Mlp?.Steps is not null && file.Element != FeatureElement.Float32)
            throw new FormatException($"Dataset \"{path}\" has features of {file.Element}, expected numbers, of which the job's module makes steps. Submit the job with the data it was made for.");
        if (file.IsSparse != (Spec.Module.Mlp?.Sparse is not null))
            throw new FormatException($"Dataset \"{path}\" has {(file.IsSparse ? "sparse" : "dense")} features, expected those that the job's module takes. Submit the job with the data it was made for.");
        if (file.RowCount == 0 || (expectedRows > 0 && file.RowCount != expectedRows))
            throw new FormatException($"Dataset \"{path}\" has {file.RowCount} rows, expected {Math.Max(expectedRows, 1)}. Encode and send it again.");
    }

    // While a GPU computes, the rank's own core has nothing to do. A small batch is gathered sooner than a thread is woken.
    private bool Prefetches(DatasetFile training) =>
        (start.Device == DeviceKind.Cuda || Environment.ProcessorCount > LocalSize * torch.get_num_threads()) &&
        Math.Min(Spec.GlobalBatchSize, training.RowCount) / start.WorldSize * training.BytesOfRow >= SmallBatchBytes;

    // The agent says how many threads a rank may have; more than the cores there are makes a step ten times slower.
    private static int ThreadCount(int worldSize) =>
        int.TryParse(Environment.GetEnvironmentVariable("OMP_NUM_THREADS"), out var asked) && asked > 0 ? asked : Math.Max(1, Environment.ProcessorCount / worldSize);
}
