using MLDistributed.Protocol.Onnx;
using MLDistributed.Protocol.Weights;

namespace MLDistributed.Protocol;

/// <summary>A convolutional network over images.</summary>
internal sealed class ImageKind(ImageSpec image) : IPretrainedKind
{
    // Beyond it no network of these is meant, and a row is a message of its own.
    private const int MaxSide = 1024;
    private const double LargestMixup = 1;
    private const double LeastArea = 0.01;
    private const double LeastRateFactor = 0.01;
    private const float Largest = 1e6f;

    public int InputSize => IsImage ? image.Channels * image.Height * image.Width : 0;

    public FeatureElement Element => FeatureElement.UInt8;

    public int OutputSize => image.OutputSize;

    // Frozen ones keep their statistics.
    public bool JoinsRows => !Enum.IsDefined(image.Architecture) || image.FrozenStages < ImageNetwork.Of(image).Stages.Count;

    // Of a convolution its normalised sums and what becomes of them; frozen layers keep nothing.
    public Int128 ActivationsOfRow
    {
        get
        {
            if (!IsImage || !Enum.IsDefined(image.Architecture))
                return 0;
            var network = ImageNetwork.Of(image);
            var kept = network.Layers.Zip(network.Sizes().Skip(1), (layer, size) => size * (layer.Operation == ImageOperation.Convolution ? 2 : 1)).Skip(network.FrozenLayers).Sum();
            return Math.Max(kept, network.Sizes().Max());
        }
    }

    public IReadOnlyList<ModuleTensor> Tensors => ImageNetwork.Of(image).Tensors;

    private bool IsImage => image is { Channels: 1 or 3, Height: >= 1 and <= MaxSide, Width: >= 1 and <= MaxSide };

    public IEnumerable<string> Errors(MlTask task)
    {
        if (image.Channels is not (1 or 3))
            yield return $"Channels is {image.Channels}, expected 1 (grey) or 3 (red, green, blue).";
        if (image.Height is not (>= 1 and <= MaxSide) || image.Width is not (>= 1 and <= MaxSide))
            yield return $"Images are {image.Height} x {image.Width}, expected 1 to {MaxSide:N0} in both.";
        if (!Enum.IsDefined(image.Architecture))
            yield return $"Arch is {image.Architecture:D}, expected one of {string.Join(", ", Enum.GetNames<ImageArchitecture>())}.";
        if (task is MlTask.Binary or MlTask.Regression && image.OutputSize != 1)
            yield return $"Output size is {image.OutputSize}, expected 1 in {task.ToString().ToLowerInvariant()} training.";
        if (image.Mean.Count != image.Channels || image.Scale.Count != image.Channels || image.Mean.Any(m => !(Math.Abs(m) <= Largest)) || image.Scale.Any(s => !(s > 0 && s <= Largest)))
            yield return $"Means and scales of channels are [{string.Join(", ", image.Mean.Take(8))}] and [{string.Join(", ", image.Scale.Take(8))}], expected one of each for each of the {image.Channels} channels, and scales above 0.";
        if (Enum.IsDefined(image.Architecture) && IsImage && image.OutputSize >= 1 && ImageNetwork.Of(image).NumberCount() is var numbers && numbers > JobSpecRules.MaxParameters)
            yield return $"The network has {numbers:N0} parameters with {image.OutputSize:N0} classes, expected at most {JobSpecRules.MaxParameters:N0}: an ONNX file holds 2 GiB.";
        if (Enum.IsDefined(image.Architecture) && ImageNetwork.Of(image).Stages.Count is var stages && (image.FrozenStages < 0 || image.FrozenStages > stages))
            yield return $"Frozen stages are {image.FrozenStages}, expected 0 to {stages}.";
        if (image.StageRateFactor is not (0 or >= LeastRateFactor and <= 1))
            yield return $"StageLearningRateFactor is {image.StageRateFactor}, expected a number from {LeastRateFactor} to 1.";
        if (image.Augmentation is not { } augmentation)
            yield break;
        if (augmentation.Shift < 0 || augmentation.Shift > Math.Min(image.Height, image.Width) / 2)
            yield return $"Augmentation.Shift is {augmentation.Shift}, expected 0 to half of the image, {Math.Min(image.Height, image.Width) / 2}.";
        if (augmentation.LeastArea is not (0 or >= LeastArea and <= 1))
            yield return $"Augmentation.LeastArea is {augmentation.LeastArea}, expected a fraction from {LeastArea} to 1.";
        foreach (var (name, value) in new[] { ("Flip", augmentation.Flip), ("Brightness", augmentation.Brightness), ("Contrast", augmentation.Contrast), ("Saturation", augmentation.Saturation) })
            if (value is not (>= 0 and <= 1))
                yield return $"Augmentation.{name} is {value}, expected a fraction from 0 to 1.";
        if (augmentation.Mixup is not (0 or >= 0.001 and <= LargestMixup))
            yield return $"Augmentation.Mixup is {augmentation.Mixup}, expected 0, or 0.001 to {LargestMixup}.";
        if (augmentation.Mixup > 0 && task == MlTask.Regression)
            yield return $"Augmentation.Mixup is {augmentation.Mixup} in regression training, expected 0: it is for classes.";
    }

    public (long Least, long Most) ModelBytes(JobSpec spec)
    {
        if (!IsImage || image.OutputSize < 1)
            throw new FormatException($"The job's network takes images of {image.Channels} x {image.Height} x {image.Width}, expected 1 or 3 channels and sides of 1 to {MaxSide:N0}. Train the model again.");
        var least = ImageNetwork.Of(image).NumberCount() * sizeof(float);
        return least <= int.MaxValue ? (least, least + OnnxGraphReader.MaxBytesBesides)
            : throw new FormatException($"The job's network has {least:N0} bytes of numbers, expected less than 2 GiB, which an ONNX file holds. Train the model again.");
    }

    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxProgram.Read(onnx, spec);
}
