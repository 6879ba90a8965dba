using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Protocol;

public sealed partial class MlpSpec
{
    /// <summary>The inputs of a row that are numbers; its categories are behind them.</summary>
    public int NumberSize => InputSize - Categories.Count;

    /// <summary>What a row's categories become.</summary>
    public int EmbeddedSize => Categories.Sum(c => c.Width);

    /// <summary>The numbers of its categories' tables.</summary>
    public Int128 TableSize => Categories.Aggregate(Int128.Zero, (all, c) => all + ((Int128)c.Rows * c.Width));

    /// <summary>Inputs of the first layer: a row's numbers, what its categories become, and the steps of its numbers.</summary>
    public long EncodedSize => (long)NumberSize + EmbeddedSize + (Steps?.Slot.Count ?? 0);

    /// <summary>The inputs of a training row that are ids, whose size means nothing.</summary>
    public IEnumerable<int> UnscaledSlots() => Enumerable.Range(NumberSize, Categories.Count);
}

public sealed partial class CategorySpec
{
    /// <summary>The most numbers that a category becomes.</summary>
    public const int MaxWidth = 1024;

    /// <summary>The most columns of categories.</summary>
    public const int MaxCategories = 1000;

    /// <summary>Rows of its table: one for each key, behind that of what is missing or unknown.</summary>
    public int Rows => KeyCount + 1;

    /// <summary>Whether its sizes are ones that a network can have.</summary>
    public bool IsValid => KeyCount is >= 1 and <= TorchKind.MaxKeyCount && Width is >= 1 and <= MaxWidth;

    /// <summary>The row of its table for what a row of data has there.</summary>
    public int RowOf(float id) => id >= 0 && id < Rows ? (int)id : 0;

    /// <summary>What its table is called.</summary>
    /// <param name="index">Its place among the categories.</param>
    public static string TableName(int index) => string.Create(System.Globalization.CultureInfo.InvariantCulture, $"categories.{index}.weight");
}

/// <summary>The multi-layer perceptron.</summary>
internal sealed class MlpKind(MlpSpec mlp) : IModuleKind
{
    // They are logarithms of shares of rows: e^100 is more than there are.
    private const double LargestOutputBias = 100;

    // As floats, larger fractions are 1: nothing would be kept.
    private const double LargestDropout = 0.999;

    /// <summary>The most steps of all features together.</summary>
    public const int MaxSteps = 65_536;

    public int InputSize => mlp.InputSize;

    // A sparse one is an index and a value.
    public Int128 FeaturesOfRow => mlp.Sparse is { } sparse ? 2 * (Int128)Math.Ceiling(Math.Clamp(sparse.MeanNonZeros, 0, InputSize)) : (Int128)mlp.InputSize + (mlp.Steps?.Slot.Count ?? 0);

    public int OutputSize => mlp.OutputSize;

    public bool JoinsRows => mlp.Normalization == LayerNormalization.Batch;

    // Of each layer its sums and its activations.
    public Int128 ActivationsOfRow => mlp.HiddenSizes.Sum(h => 2L * h) + mlp.OutputSize + (mlp.Categories.Count > 0 ? mlp.EncodedSize : 0);

    public (long Least, long Most) ModelBytes(JobSpec spec) => OnnxMlpSize.Of(spec);

    public void CheckModel(byte[] onnx, JobSpec spec) => OnnxMlpReader.Read(onnx, spec);

    public IEnumerable<string> Errors(MlTask task)
    {
        if (mlp.HiddenSizes.Count > JobSpecRules.MaxHiddenLayers)
        {
            yield return $"HiddenLayers has {mlp.HiddenSizes.Count:N0} layers, expected at most {JobSpecRules.MaxHiddenLayers:N0}.";
            yield break;
        }

        if (mlp.HiddenSizes.Any(h => h < 1))
            yield return $"HiddenLayers is [{string.Join(", ", mlp.HiddenSizes)}], expected sizes of at least 1.";
        if (mlp.Categories.Count > CategorySpec.MaxCategories || mlp.Categories.Count > mlp.InputSize || !mlp.Categories.All(c => c.IsValid))
        {
            yield return $"categoricalColumnNames has {mlp.Categories.Count:N0} columns{(mlp.Categories.FirstOrDefault(c => !c.IsValid) is { } wrong ? $", of which one has {wrong.KeyCount:N0} keys of {wrong.Width:N0} numbers" : "")}, expected at most {CategorySpec.MaxCategories:N0}, of 1 to {TorchKind.MaxKeyCount:N0} keys and {CategorySpec.MaxWidth:N0} numbers.";
            yield break;
        }

        if (mlp.Categories.Count > 0 && mlp.Sparse is not null)
            yield return $"categoricalColumnNames has {mlp.Categories.Count:N0} columns beside sparse features, expected none, or FeatureEncoding Dense.";
        if (mlp.Categories.Sum(c => (long)c.KeyCount * c.Width) is var numbers && numbers > JobSpecRules.MaxParameters && mlp.Categories.MaxBy(c => (long)c.KeyCount * c.Width) is { } widest)
            yield return $"The tables of categoricalColumnNames are {numbers:N0} numbers, the largest of {widest.KeyCount:N0} keys by {widest.Width:N0}, expected at most {JobSpecRules.MaxParameters:N0}: an ONNX file holds 2 GiB. Hash so many categories to fewer (OneHotHashEncoding).";
        else if (Parameters() is var parameters && parameters > JobSpecRules.MaxParameters)
            yield return $"HiddenLayers is [{string.Join(", ", mlp.HiddenSizes)}], which makes {parameters:N0} parameters ({(double)parameters * sizeof(float) / (1 << 30):N1} GiB) with {mlp.InputSize:N0} features{(mlp.EmbeddedSize > 0 ? " and the tables of categoricalColumnNames" : "")}, expected at most {JobSpecRules.MaxParameters:N0}: an ONNX file holds 2 GiB.";
        if (mlp.Sparse is { MeanNonZeros: var mean } && !(mean >= 0 && mean <= mlp.InputSize))
            yield return $"Rows have {mean} features that are not zero on average, expected 0 to {mlp.InputSize:N0}.";
        if (mlp.Steps is { } steps && !IsValid(steps))
            yield return $"Features have {steps.Slot.Count:N0} steps with {steps.Start.Count:N0} starts and {steps.Scale.Count:N0} scales, expected at most {MaxSteps:N0} of dense features, each with a slot, a finite start and a finite scale above 0.";
        if (mlp.OutputBias.Count != 0 && mlp.OutputBias.Count != mlp.OutputSize)
            yield return $"Output biases are {mlp.OutputBias.Count:N0}, expected none, or one for each of the {mlp.OutputSize:N0} outputs.";
        if (!mlp.OutputBias.All(b => Math.Abs(b) <= LargestOutputBias))
            yield return $"Output biases go beyond {LargestOutputBias}, expected numbers within it.";
        if (mlp.Dropout is not (>= 0 and <= LargestDropout))
            yield return $"Dropout is {mlp.Dropout}, expected a fraction from 0 to {LargestDropout}.";
    }

    private bool IsValid(FeatureStepsSpec steps) => mlp.Sparse is null && steps.Slot.Count <= MaxSteps && steps.Start.Count == steps.Slot.Count && steps.Scale.Count == steps.Slot.Count
        && steps.Slot.All(s => s >= 0 && s < mlp.NumberSize) && steps.Start.All(float.IsFinite) && steps.Scale.All(s => s > 0 && float.IsFinite(s));

    // Weights and biases; the sum of products of int's stays within 128 bits.
    private Int128 Parameters()
    {
        var (sum, inputs) = (mlp.TableSize, (Int128)mlp.EncodedSize);
        foreach (var size in mlp.HiddenSizes.Append(mlp.OutputSize))
            (sum, inputs) = (sum + (inputs + 1) * size, size);
        return sum;
    }
}
