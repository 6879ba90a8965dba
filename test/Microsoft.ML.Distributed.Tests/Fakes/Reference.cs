using MLDistributed.Protocol;

namespace Microsoft.ML.Distributed.Tests;

/// <summary>The network as jobspec.proto describes it, in double and without any cleverness.</summary>
internal static class Reference
{
    private const double Epsilon = 1e-5;

    public static double[] Score(JobSpec spec, IReadOnlyDictionary<string, float[]> tensors, ReadOnlySpan<float> features)
    {
        var mlp = spec.Module.Mlp;
        var x = new double[features.Length];
        for (var i = 0; i < x.Length; i++)
            x[i] = float.IsNaN(features[i]) ? 0 : spec.Data.Features is { } f ? ((double)features[i] - f.Mean[i]) * f.Scale[i] : features[i];
        for (var layer = 0; layer < mlp.HiddenSizes.Count; layer++)
        {
            x = Linear(x, tensors[$"layers.{layer}.weight"], tensors[$"layers.{layer}.bias"]);
            if (mlp.Normalization != LayerNormalization.None)
                x = Normalize(x, mlp.Normalization, name => tensors[$"norms.{layer}.{name}"]);
            x = [.. x.Select(v => mlp.Activation == Activation.Relu ? Math.Max(v, 0) : Gelu(v))];
        }

        x = Linear(x, tensors[$"layers.{mlp.HiddenSizes.Count}.weight"], tensors[$"layers.{mlp.HiddenSizes.Count}.bias"]);
        if (spec.Task == MlTask.Multiclass)
        {
            var exponentials = x.Select(v => Math.Exp(v - x.Max())).ToArray();
            return [.. exponentials.Select(e => e / exponentials.Sum())];
        }

        return spec.Data.Label is { } label ? [.. x.Select(v => (v / label.Scale) + label.Mean)] : x;
    }

    /// <summary>x * Phi(x), Phi by Simpson's rule over the density.</summary>
    public static double Gelu(double x)
    {
        const int Pieces = 2000;
        var h = x / Pieces;
        var sum = 1 + Math.Exp(-x * x / 2);
        for (var i = 1; i < Pieces; i++)
            sum += (i % 2 == 1 ? 4 : 2) * Math.Exp(-(i * h) * (i * h) / 2);
        return x * (0.5 + (sum * h / 3 / Math.Sqrt(2 * Math.PI)));
    }

    private static double[] Linear(double[] x, float[] weight, float[] bias) =>
        [.. bias.Select((b, o) => b + x.Select((v, i) => v * weight[(o * x.Length) + i]).Sum())];

    private static double[] Normalize(double[] x, LayerNormalization kind, Func<string, float[]> tensor)
    {
        var (weight, bias) = (tensor("weight"), tensor("bias"));
        if (kind == LayerNormalization.Batch)
            return [.. x.Select((v, i) => ((v - tensor("running_mean")[i]) / Math.Sqrt(tensor("running_var")[i] + Epsilon) * weight[i]) + bias[i])];
        var mean = x.Average();
        var variance = x.Average(v => (v - mean) * (v - mean));
        return [.. x.Select((v, i) => ((v - mean) / Math.Sqrt(variance + Epsilon) * weight[i]) + bias[i])];
    }
}
