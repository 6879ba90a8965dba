using MLDistributed.Protocol.Onnx;

namespace MLDistributed.Protocol;

/// <summary>The multi-layer perceptron.</summary>
internal sealed class MlpKind(MlpSpec mlp) : IModuleKind
{
    // They are logarithms of shares of rows: e^100 is more than there are.
    private const double LargestOutputBias = 100;

    // As floats, larger fractions are 1: nothing would be kept.
    private const double LargestDropout = 0.999;

    public int InputSize => mlp.InputSize;

    public int OutputSize => mlp.OutputSize;

    public bool JoinsRows => mlp.Normalization == LayerNormalization.Batch;

    // Of each layer its sums and its activations.
    public Int128 ActivationsOfRow => mlp.HiddenSizes.Sum(h => 2L * h) + mlp.OutputSize;

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
        if (Parameters() is var parameters && parameters > JobSpecRules.MaxParameters)
            yield return $"HiddenLayers is [{string.Join(", ", mlp.HiddenSizes)}], which makes {parameters:N0} parameters ({(double)parameters * sizeof(float) / (1 << 30):N1} GiB) with {mlp.InputSize:N0} features, expected at most {JobSpecRules.MaxParameters:N0}: an ONNX file holds 2 GiB.";
        if (mlp.OutputBias.Count != 0 && mlp.OutputBias.Count != mlp.OutputSize)
            yield return $"Output biases are {mlp.OutputBias.Count:N0}, expected none, or one for each of the {mlp.OutputSize:N0} outputs.";
        if (!mlp.OutputBias.All(b => Math.Abs(b) <= LargestOutputBias))
            yield return $"Output biases go beyond {LargestOutputBias}, expected numbers within it.";
        if (mlp.Dropout is not (>= 0 and <= LargestDropout))
            yield return $"Dropout is {mlp.Dropout}, expected a fraction from 0 to {LargestDropout}.";
    }

    // Weights and biases; the sum of products of int's stays within 128 bits.
    private Int128 Parameters()
    {
        var (sum, inputs) = (Int128.Zero, (Int128)mlp.InputSize);
        foreach (var size in mlp.HiddenSizes.Append(mlp.OutputSize))
            (sum, inputs) = (sum + (inputs + 1) * size, size);
        return sum;
    }
}
