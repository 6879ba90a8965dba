using Google.Protobuf.Reflection;

namespace MLDistributed.Protocol;

/// <summary>
/// How long, how many and how large what comes over a wire may be, for every field of every message, whoever receives it.
/// A field that is not named here has the limits of <see cref="FieldLimit"/>, so that new ones are bounded by themselves.
/// </summary>
public static class WireLimits
{
    /// <summary>The most bytes of a message of a call that carries much: rows, files, a specification, a job's history.</summary>
    public const int MaxLargeMessageBytes = 64 << 20;

    /// <summary>The most bytes of any other message.</summary>
    public const int MaxMessageBytes = 64 << 10;

    /// <summary>The most characters of a sentence or a log line that a rank, a worker or a library made.</summary>
    public const int MaxSentence = 16 << 10;

    private const int MaxReason = 64 << 10; // holds sentences of others
    private const int MaxHost = 255;
    private const int MaxSlots = 4096;
    private const long MaxFileBytes = 1L << 50;
    private const long EndOfTime = 253_402_300_799; // in seconds, of the year 9999

    private static readonly FieldLimit s_default = new();
    private static readonly FieldLimit s_hash = new() { Kind = TextKind.Hash };
    private static readonly FieldLimit s_id = new() { Kind = TextKind.Id };
    private static readonly FieldLimit s_prefix = new() { MaxLength = 100 }; // as people type it
    private static readonly FieldLimit s_idOrEmpty = new() { Kind = TextKind.IdOrEmpty };
    private static readonly FieldLimit s_anyNumber = new() { Least = long.MinValue };
    private static readonly FieldLimit s_fileSize = new() { Largest = MaxFileBytes };
    private static readonly FieldLimit s_host = new() { MaxLength = MaxHost };
    private static readonly FieldLimit s_sentence = new() { MaxLength = MaxSentence };
    private static readonly FieldLimit s_shortReason = new() { MaxLength = 1000 };
    private static readonly FieldLimit s_reason = new() { MaxLength = MaxReason };
    private static readonly FieldLimit s_epochs = new() { Largest = JobSpecRules.MaxEpochs };
    private static readonly FieldLimit s_ranks = new() { Largest = JobSpecRules.MaxRanks };
    private static readonly FieldLimit s_slot = new() { Largest = MaxSlots - 1 };
    private static readonly FieldLimit s_port = new() { Largest = ushort.MaxValue };
    private static readonly FieldLimit s_workers = new() { MaxCount = JobSpecRules.MaxWorkers };
    private static readonly FieldLimit s_participant = new() { MaxLength = MaxHost + 20 }; // with a number, where two have the same name
    private static readonly FieldLimit s_rounds = new() { Largest = 100 }; // MPI needs two
    private static readonly FieldLimit s_gathered = new() { MaxLength = MaxSentence, MaxCount = JobSpecRules.MaxWorkers };
    private static readonly FieldLimit s_steps = new() { MaxCount = 10_000 }; // a rank tells of 2,000 at most
    private static readonly FieldLimit s_metrics = new() { MaxCount = 32 };
    private static readonly FieldLimit s_name = new() { MaxLength = 200 };
    private static readonly FieldLimit s_scaling = new() { MaxCount = JobSpecRules.MaxScaledFeatures };

    private static readonly FieldLimit s_steppedFeatures = new() { MaxCount = MlpKind.MaxSteps, Largest = DatasetSchema.MaxFeatures };

    private static readonly Dictionary<string, FieldLimit> s_fields = new(StringComparer.Ordinal)
    {
        ["mldist.v1.SubmitJobRequest.request_id"] = s_idOrEmpty,
        ["mldist.v1.SubmitJobReply.job_id"] = s_id,
        ["mldist.v1.WatchJobRequest.job_id"] = s_id,
        ["mldist.v1.GetJobRequest.job_id"] = s_id,
        ["mldist.v1.ResumeJobRequest.job_id"] = s_id,
        ["mldist.v1.ListJobsRequest.page_token"] = s_idOrEmpty,
        ["mldist.v1.CancelJobRequest.job_id"] = s_id,
        ["mldist.v1.ListJobsRequest.id_prefix"] = s_prefix,
        ["mldist.v1.ListJobsRequest.limit"] = s_anyNumber,
        ["mldist.v1.ListDatasetsRequest.id_prefix"] = s_prefix,
        ["mldist.v1.ListDatasetsRequest.limit"] = s_anyNumber,
        ["mldist.v1.ClusterSnapshot.workers"] = new() { MaxCount = 100_000 },
        ["mldist.v1.WorkerSnapshot.id"] = s_idOrEmpty, // not told to other tenants
        ["mldist.v1.WorkerSnapshot.host"] = s_host,
        ["mldist.v1.WorkerCordon.reason"] = s_shortReason,
        ["mldist.v1.CordonWorkerRequest.worker_id"] = s_id,
        ["mldist.v1.CordonWorkerRequest.reason"] = s_shortReason,
        ["mldist.v1.UncordonWorkerRequest.worker_id"] = s_id,
        ["mldist.v1.Device.slot"] = s_slot,
        ["mldist.v1.Device.index"] = s_slot,
        ["mldist.v1.Device.memory_bytes"] = s_fileSize,
        ["mldist.v1.Device.memory_used_bytes"] = s_fileSize,
        ["mldist.v1.Device.name"] = s_name,
        ["mldist.v1.Device.fault"] = new() { MaxLength = 1000 },
        ["mldist.v1.Network.interface"] = s_name,
        ["mldist.v1.Network.address"] = s_name,
        ["mldist.v1.Network.mpi"] = s_name,
        ["mldist.v1.JobSnapshot.id"] = s_id,
        ["mldist.v1.JobSnapshot.hosts"] = s_workers,
        ["mldist.v1.JobSnapshot.reason"] = s_reason,
        ["mldist.v1.StateChanged.reason"] = s_reason,
        ["mldist.v1.StateChanged.world_size"] = s_ranks,
        ["mldist.v1.Progress.epoch"] = s_epochs,
        ["mldist.v1.Progress.recent"] = s_steps,
        ["mldist.v1.EpochEnded.epoch"] = s_epochs,
        ["mldist.v1.EpochEnded.validation_metrics"] = s_metrics,
        ["mldist.v1.EpochEnded.training_metrics"] = s_metrics,
        ["mldist.v1.EpochEnded.own_metrics"] = new() { MaxCount = MetricNames.MaxOwn, MaxLength = MetricNames.MaxOwnLength },
        ["mldist.v1.LogLine.source"] = new() { MaxLength = MaxHost + 20 },
        ["mldist.v1.LogLine.message"] = s_sentence,
        ["mldist.v1.JobResult.artifacts"] = new() { MaxCount = 16 },
        ["mldist.v1.JobResult.ArtifactsEntry.key"] = new() { MaxLength = 100 },
        ["mldist.v1.JobResult.world_size"] = s_ranks,
        ["mldist.v1.JobResult.epochs"] = s_epochs,
        ["mldist.v1.JobResult.best_epoch"] = s_epochs,
        ["mldist.v1.JobResult.history"] = new() { MaxCount = JobSpecRules.MaxEpochs },
        ["mldist.v1.Artifact.id"] = s_hash,
        ["mldist.v1.Artifact.size_bytes"] = s_fileSize,
        ["mldist.v1.JobFailure.message"] = s_sentence,
        ["mldist.v1.JobFailure.rank"] = new() { Least = -1, Largest = JobSpecRules.MaxRanks },
        ["mldist.v1.JobFailure.host"] = s_host,
        ["mldist.v1.JobFailure.exit_code"] = s_anyNumber,
        ["mldist.v1.JobFailure.last_words"] = new() { MaxCount = 200 },

        ["mldist.v1.JoinRequest.token"] = new() { MaxLength = 200 },
        ["mldist.v1.JoinRequest.host"] = s_host,
        ["mldist.v1.JoinReply.worker_id"] = s_id,
        ["mldist.v1.JoinReply.credential"] = new() { MaxLength = 200 },
        ["mldist.v1.Hello.worker_id"] = s_id,
        ["mldist.v1.Hello.host"] = s_host,
        ["mldist.v1.Hello.build"] = s_name,
        ["mldist.v1.Hello.running_attempts"] = s_id,
        ["mldist.v1.AttemptStarted.attempt_id"] = s_id,
        ["mldist.v1.AttemptEvent.attempt_id"] = s_id,
        ["mldist.v1.AttemptEnded.attempt_id"] = s_id,
        ["mldist.v1.CheckpointSaved.attempt_id"] = s_id,
        ["mldist.v1.CheckpointSaved.epoch"] = s_epochs,
        ["mldist.v1.StartAttempt.job_id"] = s_id,
        ["mldist.v1.StartAttempt.attempt_id"] = s_id,
        ["mldist.v1.StartAttempt.slots"] = s_slot,
        ["mldist.v1.StartAttempt.participants"] = s_workers,
        ["mldist.v1.BeginAttempt.attempt_id"] = s_id,
        ["mldist.v1.AttemptReady.attempt_id"] = s_id,
        ["mldist.v1.Participant.host"] = s_participant,
        ["mldist.v1.Participant.ranks"] = s_ranks,
        ["mldist.v1.Network.fault"] = s_sentence,
        ["mldist.v1.Gather.attempt_id"] = s_id,
        ["mldist.v1.Gather.round"] = s_rounds,
        ["mldist.v1.Gather.text"] = s_gathered,
        ["mldist.v1.Gathered.attempt_id"] = s_id,
        ["mldist.v1.Gathered.round"] = s_rounds,
        ["mldist.v1.Gathered.texts"] = s_gathered,
        ["mldist.v1.Abort.attempt_id"] = s_id,
        ["mldist.v1.Abort.rank"] = s_ranks,
        ["mldist.v1.Unheard.attempt_id"] = s_id,
        ["mldist.v1.Unheard.workers"] = s_workers,
        ["mldist.v1.UnheardWorker.participant"] = new() { Largest = JobSpecRules.MaxWorkers - 1 },
        ["mldist.v1.UnheardWorker.address"] = s_name,
        ["mldist.v1.DataOffer.attempt_id"] = s_id,
        ["mldist.v1.DataOffer.participant"] = new() { Largest = JobSpecRules.MaxWorkers - 1 },
        ["mldist.v1.DataOffer.address"] = s_name,
        ["mldist.v1.DataOffer.fingerprint"] = s_name,
        ["mldist.v1.DataOffer.key"] = s_name,
        ["mldist.v1.StopAttempt.attempt_id"] = s_id,
        ["mldist.v1.StopAttempt.reason"] = s_reason,

        ["mldist.v1.RankStart.attempt_id"] = s_id,
        ["mldist.v1.RankStart.rank"] = s_ranks,
        ["mldist.v1.RankStart.world_size"] = s_ranks,
        ["mldist.v1.RankStart.participants"] = s_workers,
        ["mldist.v1.RankStart.first_network_port"] = s_port,
        ["mldist.v1.RankStart.last_network_port"] = s_port,
        ["mldist.v1.RankStart.first_round"] = s_rounds,
        ["mldist.v1.RankCheckpointNow.attempt_id"] = s_id,
        ["mldist.v1.RankStop.attempt_id"] = s_id,
        ["mldist.v1.RankStop.reason"] = s_reason,
        ["mldist.v1.RankStarted.attempt_id"] = s_id,
        ["mldist.v1.RankCheckpoint.attempt_id"] = s_id,
        ["mldist.v1.RankFinished.attempt_id"] = s_id,
        ["mldist.v1.RankFinished.files"] = new() { MaxCount = 16 },
        ["mldist.v1.RankFinished.FilesEntry.key"] = new() { MaxLength = 100 },
        ["mldist.v1.RankFailed.attempt_id"] = s_id,
        ["mldist.v1.RankStopped.attempt_id"] = s_id,

        ["mldist.v1.FindDatasetRequest.dataset_id"] = s_hash,
        ["mldist.v1.AdoptDatasetRequest.dataset_id"] = s_hash,
        ["mldist.v1.DatasetSnapshot.id"] = s_hash,
        ["mldist.v1.DownloadRequest.id"] = s_hash,
        ["mldist.v1.DownloadRequest.length"] = s_fileSize,
        ["mldist.v1.Chunk.id"] = new() { Kind = TextKind.HashOrEmpty },
        ["mldist.v1.Chunk.data"] = new() { MaxLength = 4 << 20 },
        ["mldist.v1.Chunk.total_bytes"] = s_fileSize,

        ["mldist.v1.FeatureScaling.mean"] = s_scaling,
        ["mldist.v1.FeatureScaling.scale"] = s_scaling,
        ["mldist.v1.FeatureStepsSpec.slot"] = s_steppedFeatures,
        ["mldist.v1.FeatureStepsSpec.start"] = s_steppedFeatures,
        ["mldist.v1.FeatureStepsSpec.scale"] = s_steppedFeatures,
        ["mldist.v1.JobSpec.model_schema"] = new() { MaxLength = JobSpecRules.MaxModelSchemaBytes },
        ["mldist.v1.JobSpec.class_weights"] = s_scaling,
        ["mldist.v1.TorchModuleSpec.options"] = new() { MaxLength = ModuleOptions.MaxLength },
        ["mldist.v1.MlpSpec.output_bias"] = s_scaling,
        ["mldist.v1.TextSpec.output_bias"] = s_scaling,
        ["mldist.v1.AdapterSpec.targets"] = new() { MaxCount = 100 },
        ["mldist.v1.MlpSpec.categories"] = new() { MaxCount = CategorySpec.MaxCategories },
        ["mldist.v1.MlpSpec.hidden_sizes"] = new() { MaxCount = JobSpecRules.MaxHiddenLayers },

        ["arrow.flight.protocol.FlightData.data_header"] = new() { MaxLength = DatasetMetadata.MaxBytes },
        ["arrow.flight.protocol.FlightData.data_body"] = new() { MaxLength = MaxLargeMessageBytes },

        ["google.protobuf.Timestamp.seconds"] = new() { Largest = EndOfTime },
        ["google.protobuf.Timestamp.nanos"] = new() { Largest = 999_999_999 },
    };

    /// <summary>The fields that have limits of their own, as "package.Message.field".</summary>
    public static IReadOnlyCollection<string> Named => s_fields.Keys;

    /// <summary>A field's limits.</summary>
    public static FieldLimit Of(FieldDescriptor field)
    {
        ArgumentNullException.ThrowIfNull(field);
        // Numbers and ids of a specification: JobSpecRules says what is wrong with all of them at once, in the words of its options.
        return s_fields.GetValueOrDefault(field.FullName) ?? (field.File == JobspecReflection.Descriptor ? s_anyNumber : s_default);
    }
}
