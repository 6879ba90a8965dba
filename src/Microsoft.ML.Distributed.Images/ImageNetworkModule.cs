using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The image network that the options describe.</summary>
internal sealed class ImageNetworkModule(DistributedImageClassificationTrainer.Options options) : NetworkModule
{
    private const float White = 255;

    // ImageNet's, which published weights were trained with; of grey images what these have in the mean.
    private static readonly double[] s_means = [0.485, 0.456, 0.406];
    private static readonly double[] s_deviations = [0.229, 0.224, 0.225];

    private readonly Lazy<JobFile>? _weights = options.Weights is { } weights ? new(() => new JobFile(TensorFile.Write(weights.Tensors))) : null;

    public override JobFile? Weights => _weights?.Value;

    public override ModuleSpec ToSpec(NeuralNetworkOptions _, int inputs, int outputs)
    {
        var (means, deviations) = (options.ChannelMeans ?? options.Weights?.ChannelMeans ?? Default(s_means), options.ChannelDeviations ?? options.Weights?.ChannelDeviations ?? Default(s_deviations));
        var image = new ImageSpec
        {
            Height = options.Size.Height,
            Width = options.Size.Width,
            Channels = options.Channels,
            OutputSize = outputs,
            Architecture = (MLDistributed.Protocol.ImageArchitecture)options.Arch,
            Mean = { means.Select(m => (float)(m * White)) },
            Scale = { deviations.Select(d => (float)(1 / (d * White))) },
            Augmentation = options.Augmentation?.ToSpec(),
            // 0 means 1 there, and is out of range here.
            StageRateFactor = options.StageLearningRateFactor == 0 ? double.NaN : options.StageLearningRateFactor,
        };
        if (Enum.IsDefined(options.Arch))
            image.FrozenStages = options.FreezeBackbone ? Stages(image).Count : Stages(image).IndexOf(options.FreezeUpTo ?? "") + 1;
        return new ModuleSpec { Image = image };
    }

    // What the network is, its architecture says: an option without effect would mislead.
    public override IEnumerable<string> Errors(NeuralNetworkOptions given)
    {
        if (options.ScoreColumnName != "Score")
            yield return $"ScoreColumnName is \"{options.ScoreColumnName}\", expected \"Score\", the only name that ML.NET's transformer for classes knows. Copy the column behind the trainer: ml.Transforms.CopyColumns(\"{options.ScoreColumnName}\", \"Score\").";
        if (given.HiddenLayers is not [256, 128])
            yield return "HiddenLayers is set beside an image network, expected it left alone. Choose another Arch.";
        if (given.Activation != NetworkActivation.Relu)
            yield return $"Activation is {given.Activation} beside an image network, expected it left alone: it is for the built-in network.";
        if (given.Dropout != 0)
            yield return $"Dropout is {given.Dropout} beside an image network, expected 0. Use Augmentation or WeightDecay.";
        if (given.Normalization != NetworkNormalization.None)
            yield return $"Normalization is {given.Normalization} beside an image network, expected it left alone: it has batch normalisation.";
        if (!Enum.IsDefined(options.Arch))
            yield break;
        var image = ToSpec(given, 0, 1).Image;
        if (options.FreezeUpTo is { } stage && !Stages(image).Contains(stage))
            yield return $"FreezeUpTo is \"{VisibleText.Shortened(stage)}\", expected a part of {options.Arch}: {string.Join(", ", Stages(image).Select(s => $"\"{s}\""))}, or null for none.";
        if (options is { FreezeUpTo: not null, FreezeBackbone: true })
            yield return "FreezeUpTo is set beside FreezeBackbone, expected null: that freezes all parts but the head.";
        if (options.Weights is not { } weights)
            yield break;
        foreach (var misfit in weights.Misfits(ImageNetwork.Of(image)))
            yield return misfit;
    }

    private static List<string> Stages(ImageSpec image) => [.. ImageNetwork.Of(image).Stages];

    private IReadOnlyList<double> Default(double[] colors) => options.Channels == 1 ? [colors.Average()] : colors;
}
