using Microsoft.ML.Data;

namespace Microsoft.ML.Distributed;

/// <summary>The options that all neural-network trainers have.</summary>
/// <remarks>They are checked, all at once, when <c>Fit</c> starts.</remarks>
public abstract class NeuralNetworkOptions
{
    internal const int DefaultEpochs = 30;
    internal const double DefaultLearningRate = 3e-3;

    private static readonly IReadOnlyList<int> s_layers = [256, 128];
    private IReadOnlyList<int> _hiddenLayers = s_layers;

    private protected NeuralNetworkOptions()
    {
    }

    /// <summary>The label column: a key for multiclass, a Boolean for binary classification, a Single for regression, a key or a Single for ranking.</summary>
    /// <value>"Label"</value>
    public string LabelColumnName { get; set; } = DefaultColumnNames.Label;

    /// <summary>The features column: a vector of Single with a known size. Empty beside categorical columns: there is none.</summary>
    /// <value>"Features"</value>
    public string FeatureColumnName { get; set; } = DefaultColumnNames.Features;

    /// <summary>The column of example weights, a Single of at least 0; null for equal weights. Their unit does not matter. Rows of weight 0 or NaN are left out.</summary>
    /// <value>null</value>
    public string? ExampleWeightColumnName { get; set; }

    /// <summary>The sizes of the hidden layers, in order. An empty list makes a linear model.</summary>
    /// <value>[256, 128]. Of <see cref="FeatureEncoding.Sparse"/> features of more than 65,536 slots the first is narrower, the largest power of two with at most 16,777,216 weights: 128 of 100,000 slots, 16 of a million.</value>
    public IReadOnlyList<int> HiddenLayers
    {
        get => _hiddenLayers;
        set => _hiddenLayers = value;
    }

    /// <summary>
    /// Whether features go in value by value too: beside the standardised feature one more input for each step between two
    /// neighbouring values, from 0 below to 1 above (piecewise linear encoding, Gorishniy et al., arXiv:2203.05556). Of features with
    /// 3 to 32 values, such as hours, weekdays and grades, these are all their values; of those with more, quantiles of a sample of
    /// the rows, which make 2 to 16 parts. Of 2,000 rows or more with <see cref="NormalizeFeatures"/>, not of a linear model; of so many
    /// features that there were more than 512 steps together, those with few values alone, and where these have more, none.
    /// </summary>
    /// <value>true</value>
    public bool EncodeLevels { get; set; } = true;

    /// <summary>How features are encoded, sent, stored and trained on: whole rows, or their non-zero values alone.</summary>
    /// <value><see cref="FeatureEncoding.Auto"/>; dense beside <see cref="Reproducibility.BitExact"/>, <see cref="WeightAveraging"/>, another <see cref="Placement"/> than one worker, <see cref="TrainingDevice.Cuda"/> and categorical columns, and as the network of <see cref="StartFrom"/>.</value>
    public FeatureEncoding FeatureEncoding { get; set; } = FeatureEncoding.Auto;

    /// <summary>What follows each hidden layer.</summary>
    /// <value><see cref="NetworkActivation.Relu"/></value>
    public NetworkActivation Activation { get; set; } = NetworkActivation.Relu;

    /// <summary>The probability, in [0, 1), of dropping a hidden unit in a training step.</summary>
    /// <value>0</value>
    public double Dropout { get; set; }

    /// <summary>What normalises each hidden layer before its activation.</summary>
    /// <value><see cref="NetworkNormalization.None"/></value>
    public NetworkNormalization Normalization { get; set; } = NetworkNormalization.None;

    /// <summary>Whether features are standardised inside the model: less their mean, over their standard deviation. Missing values (NaN) count as the mean.</summary>
    /// <value>true. When false, missing values count as 0.</value>
    public bool NormalizeFeatures { get; set; } = true;

    /// <summary>Passes over the training rows, at least 1.</summary>
    /// <value>30</value>
    public int Epochs { get; set; } = DefaultEpochs;

    /// <summary>Rows a step, over all ranks together; at most all rows that there are, so that <see cref="int.MaxValue"/> is the whole data a step.</summary>
    /// <value>null: about a fortieth of the rows, a power of two from 32 to 256; of fewer than 320 rows a tenth, from 4; where the rows tell their labels, as <see cref="WeightDecay"/> says, a two-hundredth, from 32 to 256.</value>
    public int? BatchSize { get; set; }

    /// <summary>The most rows that a rank computes at once, for models whose activations do not fit its memory: it adds up the gradients of its part of a step over as many as it takes. Changes memory and time, not the model. Not beside batch normalisation.</summary>
    /// <value>0: all its rows of a step at once.</value>
    public int MaxMicroBatchSize { get; set; }

    /// <summary>
    /// The trained network whose weights training starts from (warm start): what <c>Fit</c> of such a trainer returned or
    /// <c>ml.Model.Load</c> read, a chain with one of them, or its <c>Model</c>. Its layers must be those of these options, or of a module of
    /// your own its parameters those of this one by name and shape, and the order of its classes this one's. Its
    /// features the same columns, and its classes the same values, in any order. The new model scales features, and a regression's
    /// labels, as this one does, whatever the new data's mean and deviation: a feature that was constant then stays ignored.
    /// The optimizer starts anew. What stands before the trainer in a pipeline has to be what was fitted then: a normaliser that is fitted
    /// anew gives the features another meaning.
    /// </summary>
    /// <value>null: training starts from random weights of the seed.</value>
    /// <example><code>
    /// ITransformer yesterday = ml.Model.Load("model.zip", out _);
    /// var trainer = ml.Regression.Trainers.DistributedNeuralNetwork(new DistributedRegressionTrainer.Options { StartFrom = yesterday, Epochs = 3, LearningRate = 3e-4 });
    /// </code></example>
    public object? StartFrom { get; set; }

    /// <summary>How gradients change the weights.</summary>
    /// <value><see cref="AdamWOptimizer"/></value>
    public NetworkOptimizer Optimizer { get; set; } = new AdamWOptimizer();

    /// <summary>The learning rate at its highest, above 0.</summary>
    /// <value>0.003</value>
    public double LearningRate { get; set; } = DefaultLearningRate;

    /// <summary>The pull of weight matrices towards 0, at least 0: decoupled for AdamW, an L2 penalty for SGD and Adam. Biases and normalisation are left alone.</summary>
    /// <value>
    /// null: for AdamW so that the weights forget over five epochs, whatever the number of rows (Wang and Aitchison, "How to set
    /// AdamW's weight decay as you scale model and dataset size", 2024, arXiv:2405.13698), over twenty where the rows tell their labels: from 2,000
    /// rows on, dense ones, if the label of a row differs from that of the row nearest to it, in a sample, by less than 0.15 of what any two differ by; for SGD 0.0001; for Adam 0.
    /// </value>
    public double? WeightDecay { get; set; }

    /// <summary>How the learning rate changes over the steps.</summary>
    /// <value><see cref="LearningRateSchedule.Cosine"/></value>
    public LearningRateSchedule Schedule { get; set; } = LearningRateSchedule.Cosine;

    /// <summary>The largest L2 norm of a step's gradient over all weights; a larger one is scaled down. 0: no limit.</summary>
    /// <value>0</value>
    public double GradientClipNorm { get; set; }

    /// <summary>Whether the model is an average of the weights over the steps. Not beside batch normalisation.</summary>
    /// <value>null: it has the weights themselves.</value>
    public WeightAveraging? WeightAveraging { get; set; }

    /// <summary>The part of the training rows, in [0, 1), that is kept for validation; which rows, the seed decides. The model has the weights of the epoch with the least validation loss. In ranking these are whole groups, and it is the epoch with the highest NDCG@10.</summary>
    /// <value>
    /// null: none of fewer than 2,000 rows, unless <see cref="EarlyStopping"/> asks for it, and none beside a
    /// <see cref="ValidationSet"/>; of more rows a tenth, at most 20,000 rows. None of fewer than 200 groups of a ranking.
    /// </value>
    public double? ValidationFraction { get; set; }

    /// <summary>Rows for validation, with the same columns as the training data as this trainer sees it. Not beside <see cref="ValidationFraction"/>.</summary>
    /// <value>null</value>
    public IDataView? ValidationSet { get; set; }

    /// <summary>When to stop before <see cref="Epochs"/>; needs validation rows.</summary>
    /// <value>null: after 10 epochs without a better loss where <see cref="ValidationFraction"/> is left open and rows are held out; else never.</value>
    public EarlyStopping? EarlyStopping { get; set; }

    /// <summary>Decides initial weights, row order, dropout and which rows are held out, whatever the number of ranks.</summary>
    /// <value>
    /// null: the seed of the <see cref="MLContext"/>, the same for all trainers made of it. Of a context without a seed, a random
    /// one, drawn once when the trainer is made: all its fits start alike, another trainer's do not.
    /// </value>
    public int? Seed { get; set; }

    /// <summary>How far the model is the same on another number of ranks.</summary>
    /// <value><see cref="Reproducibility.UpToRounding"/></value>
    public Reproducibility Reproducibility { get; set; } = Reproducibility.UpToRounding;

    /// <summary>The kind of device to train on.</summary>
    /// <value><see cref="TrainingDevice.Any"/></value>
    public TrainingDevice Device { get; set; } = TrainingDevice.Any;

    /// <summary>
    /// What layers compute in while training. Weights, gradients and the optimizer's state are float32 in any case, and so is the
    /// model: it is validated and scored in float32. For GPUs; what CPUs make of it is with each value.
    /// </summary>
    /// <value><see cref="TrainingPrecision.Float32"/></value>
    public TrainingPrecision Precision { get; set; } = TrainingPrecision.Float32;

    /// <summary>
    /// What gradients are rounded to between workers, where their network is slower than their cores. No effect on the ranks of
    /// one worker, whose gradients meet in its memory or between its GPUs.
    /// </summary>
    /// <value><see cref="GradientCompression.None"/></value>
    public GradientCompression GradientCompression { get; set; } = GradientCompression.None;

    /// <summary>The fewest ranks (devices or cores) that the job starts on.</summary>
    /// <value>1</value>
    public int MinRanks { get; set; } = 1;

    /// <summary>The most ranks that the job takes. 0: as many as one worker offers or, with another <see cref="Placement"/>, all that are free and can meet; of GPUs those of one model, without <see cref="MixedDevices"/>.</summary>
    /// <value>0</value>
    public int MaxRanks { get; set; }

    /// <summary>Whether the ranks may be on several workers. Those need a network between them that the cluster's operator has named (<c>mldist worker --network</c>), and CPU ranks.</summary>
    /// <value><see cref="RankPlacement.OneWorker"/></value>
    public RankPlacement Placement { get; set; } = RankPlacement.OneWorker;

    /// <summary>The fewest ranks on each worker, with <see cref="RankPlacement.Pack"/> and <see cref="RankPlacement.Spread"/>.</summary>
    /// <value>1</value>
    public int MinRanksPerWorker { get; set; } = 1;

    /// <summary>The most ranks on each worker, with <see cref="RankPlacement.Pack"/> and <see cref="RankPlacement.Spread"/>. 0: as many as it offers.</summary>
    /// <value>0</value>
    public int MaxRanksPerWorker { get; set; }

    /// <summary>
    /// Whether GPUs that train together may be of several models. Then the slowest sets the pace, the smallest memory bounds the network, and as their kernels
    /// may round differently, the copies of the weights on several workers may drift apart by as much.
    /// </summary>
    /// <value>false: all are of one model, as their driver names it.</value>
    public bool MixedDevices { get; set; }

    /// <summary>Jobs of a higher priority run first.</summary>
    /// <value>0</value>
    public int Priority { get; set; }

    /// <summary>
    /// How long the job may wait while no connected worker could ever hold it, as when none is connected or all have fewer
    /// ranks than <see cref="MinRanks"/>; then <c>Fit</c> throws <see cref="TrainingFailedException"/>. It waits for other
    /// jobs to end as long as that takes, and for lost workers to come back, once it has trained, for an hour at least.
    /// </summary>
    /// <value>10 minutes. <see cref="Timeout.InfiniteTimeSpan"/>: for ever.</value>
    public TimeSpan QueueTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// How many losses of ranks or machines in a row end the job: those without progress, a new checkpoint or commit, between them.
    /// One that gets on goes on, however often it is interrupted. 1: the first loss ends it.
    /// </summary>
    /// <value>3</value>
    public int MaxAttempts { get; set; } = 3;

    /// <summary>What becomes of the job when this app is gone, which is after 30 seconds without it. <c>TrainingCluster.SubmitAsync</c> is for jobs that go on without it from the start.</summary>
    /// <value><see cref="DisconnectBehavior.Cancel"/></value>
    public DisconnectBehavior OnDisconnect { get; set; } = DisconnectBehavior.Cancel;

    /// <summary>Epochs between two checkpoints, from which a job goes on after a failure. Where epochs are short, one that would come within 2 seconds of the last, or of the training's start, is left out. 0: none.</summary>
    /// <value>1</value>
    public int CheckpointIntervalEpochs { get; set; } = 1;

    /// <summary>The time after which a checkpoint is written within an epoch too; training goes on meanwhile. Zero: at the end of epochs only.</summary>
    /// <value>30 seconds. No effect when <see cref="CheckpointIntervalEpochs"/> is 0.</value>
    public TimeSpan CheckpointInterval { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How many of a job's checkpoints are stored, at least 1. Should the newest turn out damaged, the job goes on from the one before. Each holds the best weights so far, so these are never lost with an older one.</summary>
    /// <value>2. When the job succeeds all are removed; when it fails or is cancelled the last is kept, for 7 days by default, so that <see cref="TrainingCluster.ResumeAsync"/> can go on from it.</value>
    public int CheckpointsKept { get; set; } = 2;

    /// <summary>The job's name, for people, in lists of jobs; it need not be unique. At most 200 characters on one line.</summary>
    /// <value>null: the trainer and its columns, as in "DistributedBinaryTrainer: Churned from Features".</value>
    public string? JobName { get; set; }

    /// <summary>The cluster to train on, before <c>ml.UseCluster</c> and the environment.</summary>
    /// <value>null</value>
    public TrainingCluster? Cluster { get; set; }

    /// <summary>Told how far the training is, a few times a second, on a thread of the pool. What it throws, <c>Fit</c> throws, and the job is cancelled; so it is with a listener of <c>ml.Log</c>.</summary>
    /// <value>null: a progress bar where there is a terminal.</value>
    public IProgress<TrainingProgress>? Progress { get; set; }

    /// <summary>Stops the training: <c>Fit</c> then throws <see cref="OperationCanceledException"/>.</summary>
    /// <value><see cref="CancellationToken.None"/></value>
    public CancellationToken CancellationToken { get; set; }

    internal static ArgumentException Refusal(string name, IReadOnlyList<string> errors) =>
        new(errors.Count == 1 ? $"{name} cannot train: {errors[0]}" : $"{name} cannot train:{string.Concat(errors.Select(e => $"{Environment.NewLine}- {e}"))}");

    internal NeuralNetworkOptions Copy() => (NeuralNetworkOptions)MemberwiseClone();

    internal virtual string? GroupColumn => null;

    internal bool HasOwnLayers => !ReferenceEquals(_hiddenLayers, s_layers);

    internal abstract void Complete(MLDistributed.Protocol.JobSpec spec);
}
