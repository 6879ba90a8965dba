using MLDistributed.Protocol;
using MLDistributed.Protocol.Weights;

namespace Microsoft.ML.Distributed;

/// <summary>The image network that the options describe.</summary>
internal sealed class ImageNetworkModule(ImageOptions options) : NetworkModule
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
            StageRateFactor = options.StageFactor,
        };
        if (Enum.IsDefined(options.Arch))
            image.FrozenStages = options.FreezeBackbone ? Stages(options.Arch).Count : Stages(options.Arch).IndexOf(options.FreezeUpTo ?? "") + 1;
        return new ModuleSpec { Image = image };
    }

    // What the network is, its architecture says: an option without effect would mislead.
    public override IEnumerable<string> Errors(NeuralNetworkOptions given)
    {
        foreach (var error in options.OwnErrors())
            yield return error;
        if (given.HiddenLayers is not [256, 128])
            yield return "HiddenLayers is set beside an image network, expected it left alone. Choose another Arch.";
        if (given.Activation != NetworkActivation.Relu)
            yield return $"Activation is {given.Activation} beside an image network, expected it left alone: it is for the built-in network.";
        if (given.Dropout != 0)
            yield return $"Dropout is {given.Dropout} beside an image network, expected 0. Use Augmentation or WeightDecay.";
        if (given.Normalization != NetworkNormalization.None)
            yield return $"Normalization is {given.Normalization} beside an image network, expected it left alone: it has batch normalisation.";
        // In the specification 0 is what was not said.
        if (options.StageLearningRateFactor == 0)
            yield return "StageLearningRateFactor is 0, expected a number from 0.01 to 1. FreezeUpTo keeps parts as they are.";
        if (options.Augmentation is { LeastArea: 0 })
            yield return "Augmentation.LeastArea is 0, expected a fraction from 0.01 to 1.";
        if (!Enum.IsDefined(options.Arch))
            yield break;
        var (image, stages) = (ToSpec(given, 0, 1).Image, Stages(options.Arch));
        if (options is { TrainsHeadAlone: true, StageLearningRateFactor: not (null or 0 or 1) })
            yield return $"StageLearningRateFactor is {options.StageLearningRateFactor} where the head alone is trained, expected 1: no other part has a learning rate.";
        if (options.Weights is null && (options.FreezeBackbone || options.FreezeUpTo is not null))
            yield return $"{(options.FreezeBackbone ? "FreezeBackbone is true" : "FreezeUpTo is set")} without Weights, expected weights that are worth keeping: the network begins with random ones.";
        if (options.FreezeUpTo is { } stage && !stages.Contains(stage))
            yield return $"FreezeUpTo is \"{VisibleText.Shortened(stage)}\", expected a part of {options.Arch}: {string.Join(", ", stages.Select(s => $"\"{s}\""))}, or null for none.";
        if (options is { FreezeUpTo: not null, FreezeBackbone: true })
            yield return "FreezeUpTo is set beside FreezeBackbone, expected null: that freezes all parts but the head.";
        if (options.Weights is not { } weights)
            yield break;
        foreach (var misfit in weights.Misfits(ImageNetwork.Of(image)))
            yield return misfit;
    }

    /// <summary>The parts of an architecture that can be frozen, from the image on.</summary>
    internal static List<string> Stages(ImageArchitecture architecture) => [.. ImageNetwork.Of(new ImageSpec { Architecture = (MLDistributed.Protocol.ImageArchitecture)architecture, Channels = 3 }).Stages];

    private IReadOnlyList<double> Default(double[] colors) => options.Channels == 1 ? [colors.Average()] : colors;
}
