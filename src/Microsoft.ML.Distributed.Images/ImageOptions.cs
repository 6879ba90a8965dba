using Microsoft.ML.Transforms.Image;
using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed;

/// <summary>The options that all trainers of images have: those of all trainers, less what describes the built-in network, and what images need.</summary>
/// <remarks>They are checked, all at once, when <c>Fit</c> starts.</remarks>
public abstract class ImageOptions : NeuralNetworkOptions
{
    internal const double DefaultWeightDecay = 0.05;
    private const int SmallSide = 64;
    private const int LargeSide = 224;

    // Fine-tuning moves weights that are good already; a head, and a network from scratch, have a way to go. What is nearer to the image is of
    // more use as it is.
    private const double FineTuningRate = 1e-4;
    private const double OwnRate = 1e-3;
    private const double FineTuningFactor = 0.3;
    private ImageArchitecture? _arch;

    /// <summary>Options with their defaults: a learning rate of 0, which is 0.001, or 0.0001 where all parts of <see cref="Weights"/> are fine-tuned at the same rate; and for AdamW a weight decay of 0.05.</summary>
    private protected ImageOptions() => LearningRate = 0;

    /// <summary>The network.</summary>
    /// <value>That of <see cref="Weights"/>; without them <see cref="ImageArchitecture.SmallCnn"/>.</value>
    public ImageArchitecture Arch { get => _arch ?? Weights?.Architecture ?? ImageArchitecture.SmallCnn; set => _arch = value; }

    /// <summary>The pretrained weights that training starts from. The last layer starts anew, unless theirs has as many classes.</summary>
    /// <value>null: the network is trained from scratch.</value>
    public ImageWeights? Weights { get; set; }

    /// <summary>The same as <see cref="NeuralNetworkOptions.Epochs"/>, by the name that ML.NET's image trainer has for it.</summary>
    /// <value>30</value>
    public int Epoch { get => Epochs; set => Epochs = value; }

    /// <summary>The same as <see cref="NeuralNetworkOptions.EarlyStopping"/>, by the name that ML.NET's image trainer has for it.</summary>
    /// <value>null</value>
    public EarlyStopping? EarlyStoppingCriteria { get => EarlyStopping; set => EarlyStopping = value; }

    /// <summary>Told how far the training is, beside <see cref="NeuralNetworkOptions.Progress"/>.</summary>
    /// <value>null</value>
    public Action<TrainingProgress>? MetricsCallback { get; set; }

    /// <summary>Rows of pixels that the network takes, from 1 to 1,024.</summary>
    /// <value>null: 64 for <see cref="ImageArchitecture.SmallCnn"/>, 224 for the others.</value>
    public int? ImageHeight { get; set; }

    /// <summary>Columns of pixels that the network takes, from 1 to 1,024.</summary>
    /// <value>null: as many as rows.</value>
    public int? ImageWidth { get; set; }

    /// <summary>1 for grey, 3 for red, green and blue. Images of the other kind are converted; what is transparent is black.</summary>
    /// <value>3</value>
    public int Channels { get; set; } = 3;

    /// <summary>What becomes of images of another shape.</summary>
    /// <value>IsoCrop: the middle, as large as fits. IsoPad: all of it, between black bars. Fill: stretched.</value>
    public ImageResizingEstimator.ResizingKind Resizing { get; set; } = ImageResizingEstimator.ResizingKind.IsoCrop;

    /// <summary>Where paths begin that are not whole. It is stored with the model.</summary>
    /// <value>null: the working folder.</value>
    public string? ImageFolder { get; set; }

    /// <summary>What is done to training images.</summary>
    /// <value>null: nothing.</value>
    public ImageAugmentation? Augmentation { get; set; }

    /// <summary>Whether the last layer alone is trained. Batch normalisation keeps its statistics, and <see cref="NeuralNetworkOptions.MaxMicroBatchSize"/> can be used.</summary>
    /// <value>false</value>
    public bool FreezeBackbone { get; set; }

    /// <summary>The last part of the network, counted from the image, that keeps its first weights and the statistics of its normalisations, as do all before it: "conv1" or "layer1" to "layer4" of a ResNet, "conv1" to "conv5" of <see cref="ImageArchitecture.SmallCnn"/>.</summary>
    /// <value>null: all parts are trained, unless <see cref="FreezeBackbone"/> is set.</value>
    public string? FreezeUpTo { get; set; }

    /// <summary>The learning rate of each part of the network, of that of the part behind it, from 0.01 to 1: the last layer's is <see cref="NeuralNetworkOptions.LearningRate"/>, that of "layer4" so much of it, that of "layer3" so much of "layer4"'s (Howard and Ruder 2018, arXiv:1801.06146).</summary>
    /// <value>null: 0.3 to fine-tune <see cref="Weights"/>; else 1, with which all parts have the same.</value>
    public double? StageLearningRateFactor { get; set; }

    /// <summary>The mean of each channel, of pixels from 0 to 1, that is taken from them: what pretrained weights were trained with.</summary>
    /// <value>null: that of <see cref="Weights"/>; without them ImageNet's.</value>
    public IReadOnlyList<double>? ChannelMeans { get; set; }

    /// <summary>The deviation of each channel, of pixels from 0 to 1, that they are divided by then.</summary>
    /// <value>null: that of <see cref="Weights"/>; without them ImageNet's.</value>
    public IReadOnlyList<double>? ChannelDeviations { get; set; }

    /// <summary>How much the rows of each class count, one number a class, in the order of the label's keys; of a Boolean label of false and true; null: all alike.</summary>
    /// <value>null</value>
    public IReadOnlyList<float>? ClassWeights { get; set; }

    /// <summary>How much less rows count that are right already: each row's loss is multiplied by (1 - p) to this power, p the probability of its label (focal loss, Lin et al., arXiv:1708.02002).</summary>
    /// <value>0: all alike. 2 is usual; probabilities then understate how sure the model is.</value>
    public double FocalGamma { get; set; }

    internal (int Height, int Width) Size => (ImageHeight ?? Side, ImageWidth ?? ImageHeight ?? Side);

    private int Side => Arch == ImageArchitecture.SmallCnn ? SmallSide : LargeSide;

    internal double AutomaticRate => FineTunes && StageFactor == 1 ? FineTuningRate : OwnRate;

    internal double StageFactor => StageLearningRateFactor ?? (FineTunes ? FineTuningFactor : 1);

    private bool FineTunes => Weights is not null && !TrainsHeadAlone;

    internal bool TrainsHeadAlone => FreezeBackbone || (Enum.IsDefined(Arch) && ImageNetworkModule.Stages(Arch)[^1] == FreezeUpTo);

    /// <summary>All that is wrong with what one trainer of images alone has, each a sentence.</summary>
    internal virtual IEnumerable<string> OwnErrors() => [];

    internal override void Complete(JobSpec spec)
    {
        spec.ClassWeights.AddRange(ClassWeights ?? []);
        spec.Loss = FocalGamma == 0 ? null : new LossSpec { Focal = new FocalLossSpec { Gamma = FocalGamma } };
    }
}
