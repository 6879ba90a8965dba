namespace MLDistributed.Protocol.Onnx;

/// <summary>How large a job's model is: known before a byte of it is fetched, from the sizes of its layers.</summary>
public static class OnnxMlpSize
{
    // Operators, names and shapes. A normalised layer, which has most of them, takes 700 bytes.
    private const int MaxBytesPerLayer = 2048;
    private const int MaxBytesBesides = 8192;
    private const int MaxBytesPerStep = 10; // of a slot's number
    private const int MaxBytesPerCategory = 1024;

    /// <summary>The bytes of a model file: of its numbers alone, and with the most that names and operators take. Weights alone, in a file of their own, are below the second too.</summary>
    /// <param name="spec">The job, of which nothing is believed.</param>
    /// <exception cref="FormatException">No job has such a network.</exception>
    public static (long Least, long Most) Of(JobSpec spec)
    {
        ArgumentNullException.ThrowIfNull(spec);
        var mlp = spec.Module?.Mlp ?? throw new FormatException("The job has no network, expected a multi-layer perceptron. Train the model again.");
        if (mlp.HiddenSizes.Count > JobSpecRules.MaxHiddenLayers)
            throw new FormatException($"The job's network has {mlp.HiddenSizes.Count:N0} hidden layers, expected at most {JobSpecRules.MaxHiddenLayers:N0}. Train the model again.");
        var isMulticlass = spec.Task == MlTask.Multiclass;
        if (!Enum.IsDefined(spec.Task) || spec.Task == MlTask.Unspecified || !Enum.IsDefined(mlp.Activation) || !Enum.IsDefined(mlp.Normalization)
            || mlp.InputSize < 1 || mlp.HiddenSizes.Any(h => h < 1) || mlp.OutputSize < 1 || (!isMulticlass && mlp.OutputSize > 1))
            throw new FormatException($"The job's network is {spec.Task}, {mlp.InputSize} to {mlp.OutputSize}, with {mlp.Activation} and {mlp.Normalization} between, expected sizes from 1 ({(isMulticlass ? "classes" : "and one output")}) and what this release knows. Update the package, or train the model again.");

        var norms = mlp.Normalization switch { LayerNormalization.None => 0, LayerNormalization.Layer => 2, _ => 4 };
        var floats = spec.Data?.Features is null ? 0 : (mlp.Sparse is null ? 2 : 1) * (Int128)mlp.InputSize;
        if (mlp.Categories.Count > Math.Min(mlp.InputSize, CategorySpec.MaxCategories) || !mlp.Categories.All(c => c.IsValid))
            throw new FormatException($"The job's network has {mlp.Categories.Count:N0} columns of categories among {mlp.InputSize:N0} inputs, expected at most {CategorySpec.MaxCategories:N0}, each with keys and numbers that this release knows. Train the model again.");
        floats += mlp.Categories.Count + mlp.TableSize;
        var steps = mlp.Steps?.Slot.Count ?? 0;
        floats += 2 * steps;
        Int128 inputs = mlp.EncodedSize;
        foreach (var size in mlp.HiddenSizes)
            (floats, inputs) = (floats + ((inputs + 1 + norms) * size), size);
        floats += (inputs + 1) * mlp.OutputSize;
        var least = floats * sizeof(float);
        return least <= int.MaxValue
            ? ((long)least, (long)least + MaxBytesBesides + ((long)MaxBytesPerLayer * mlp.HiddenSizes.Count) + ((long)MaxBytesPerStep * steps) + ((long)MaxBytesPerCategory * mlp.Categories.Count))
            : throw new FormatException($"The job's network has {floats:N0} numbers, expected less than 2 GiB, which an ONNX file holds. Train the model again.");
    }
}
